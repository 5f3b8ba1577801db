"""Python functions as operations: types become schemas, docstrings become docs (`signatures`).

    orders = Capability("shop.orders", "A customer's orders")

    @orders.operation(reads="private")
    async def list(customer: Principal, since: date | None = None) -> list[Order]:
        '''Orders of the calling customer, newest first.

        since: only orders placed on or after this day
        '''

A parameter annotated `Principal`, and nothing else, is filled with the run's own principal and is not shown;
one annotated `Call` gets the call itself (idempotency key, blobs, deadline). Arguments arrive as the
annotated types (pydantic models, dataclasses, TypedDicts, dates, enums). Synchronous functions run in threads
of their capability, so that those that hang hold up nobody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import hashlib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from inhabit.connectors.signatures import Signature, signature_of
from inhabit.connectors.still import still_async, still_sync
from inhabit.contracts.connector import Call, ConnectorContext, ConnectorProblem
from inhabit.contracts.effects import Effects, Reads, Trust, Writes, checked_effects
from inhabit.contracts.operation import ErrorDoc, Operation, Resource
from inhabit.contracts.principal import Principal
from inhabit.contracts.reconciled import Reconciled
from inhabit.contracts.schema import Schemas
from inhabit.errors import CallError, ConfigError, Effect, InhabitError, InvalidInput

__all__ = ["Capability", "FunctionConnector"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*\Z")
_EFFECTS = typing.get_args(Effect)
_THREADS = 32
"""Of one capability, made as they are needed. What is called beyond waits, within its own deadline."""


@dataclass(frozen=True, slots=True)
class _Function:
    operation: Operation
    implementation: Callable[..., Any]
    signature: Signature
    is_async: bool


class _Named(NamedTuple):
    """Operations of the same capability that another one names, in full."""

    revert: str | None
    preview: str | None
    reconcile: str | None


class Capability:
    """A named set of operations made of Python functions."""

    def __init__(self, name: str, description: str = "") -> None:
        if not _NAME.match(name):
            raise ConfigError(f"capability name {name!r} is not allowed",
                              fix="dotted identifiers such as shop.orders")
        self.name = name
        self.description = description
        self._functions: dict[str, _Function] = {}

    def operation(
        self, function: Callable[..., Any] | None = None, *, name: str | None = None,
        reads: Reads = "private", trust: Trust = "trusted", writes: Writes = "none",
        irreversible: bool | None = None, idempotent: bool | None = None,
        revert: Callable[..., Any] | str | None = None, preview: Callable[..., Any] | str | None = None,
        reconcile: Callable[..., Any] | str | None = None,
        errors: Mapping[str, str] | None = None, timeout_s: float | None = None, url_argument: str = "",
        content: Sequence[str] = (), resource: Resource | None = None,
    ) -> Any:
        """Declare a function as an operation; used as `@cap.operation` or
        `@cap.operation(writes="internal")`.

        What is not declared is: reads private data, trusted (it is the product's own), writes nothing. A
        write without a `revert` is irreversible; only a read is idempotent unless said otherwise. `revert`
        and `preview` are operations of this capability, as functions or by name; so is `reconcile`, which
        reads whether a call took effect: it is given those of the call's arguments that it names and the
        call's `idempotency_key`, and answers `Reconciled`. `url_argument` names the parameter that says where
        a request goes: after private data, only to a URL that somebody gave. `content` names those that say
        neither where a call goes nor what it does (the body of a mail, not its recipient): a handle may bring
        a stranger's words there. `resource`: how it stands to a kind of things, for plans. Raises
        `ConfigError` when a type has no JSON form.
        """
        if function is None:
            def decorate(real: Callable[..., Any]) -> Any:
                return self.operation(
                    real, name=name, reads=reads, trust=trust, writes=writes, irreversible=irreversible,
                    idempotent=idempotent, revert=revert, preview=preview, reconcile=reconcile, errors=errors,
                    timeout_s=timeout_s, url_argument=url_argument, content=content, resource=resource)
            return decorate
        short = name or function.__name__
        full_name = f"{self.name}.{short}"
        effects = checked_effects({
            "reads": reads, "trust": trust, "writes": writes,
            "irreversible": (writes != "none" and revert is None) if irreversible is None else irreversible,
            "idempotent": (writes == "none") if idempotent is None else idempotent}, where=full_name)
        if short in self._functions:
            raise ConfigError(f"{full_name} is declared twice")
        self._functions[short] = _build(
            full_name, self.name, function, effects,
            tuple(ErrorDoc(code, text) for code, text in (errors or {}).items()),
            None if timeout_s is None else int(timeout_s * 1000),
            _Named(self._reference(revert), self._reference(preview), self._reference(reconcile)),
            url_argument)
        if resource is not None:
            self._functions[short] = _with_resource(self._functions[short], resource)
        if content:
            self._functions[short] = _with_content(self._functions[short], tuple(content))
        return function

    def _reference(self, other: Callable[..., Any] | str | None) -> str | None:
        if other is None:
            return None
        if isinstance(other, str):
            return other if "." in other else f"{self.name}.{other}"
        declared = (f.operation.name for f in self._functions.values() if f.implementation is other)
        return next(declared, f"{self.name}.{other.__name__}")

    def _named(self, full_name: str) -> _Function:
        return self._functions[full_name.rpartition(".")[2]]

    def connector(self) -> FunctionConnector:
        """The capability as it stands now, for `Inhabit(capabilities=[...])`. Raises `ConfigError` for a
        `revert`, `preview` or `reconcile` that names no operation of it, and for a `reconcile` that cannot
        answer.
        """
        known = [function.operation.name for function in self._functions.values()]
        for operation in (function.operation for function in self._functions.values()):
            other = _Named(operation.revert, operation.preview, operation.reconcile)
            for role, named in zip(_Named._fields, other, strict=True):
                if named is not None and named not in known:
                    near = difflib.get_close_matches(named, known, 1, 0.0)[0]
                    raise ConfigError(f"{operation.name}: {role}={named!r} is no operation of {self.name}",
                                      fix=f"declare it with @operation; the nearest is {near!r}")
            if other.preview is not None and self._named(other.preview).operation.effects.may_write:
                raise ConfigError(f"{operation.name}: preview={other.preview!r} may write",
                                  fix="a preview only reads: declare it without `writes`")
            if other.reconcile is not None:
                _check_reconcile(operation, self._named(other.reconcile))
        return FunctionConnector(self.name, self.description, dict(self._functions))


class FunctionConnector:
    """Implements `contracts.Connector` over a capability's functions."""

    def __init__(self, name: str, description: str, functions: Mapping[str, _Function]) -> None:
        self.name = name
        self._description = description
        self._functions = functions
        self._threads: ThreadPoolExecutor | None = None

    async def open(self, context: ConnectorContext) -> None:
        del context

    def fingerprint(self) -> str:
        operations = [function.operation for function in self._functions.values()]
        hashes = sorted(one.schema_hash() + one.summary + one.description for one in operations)
        return hashlib.sha256(orjson.dumps([self.name, self._description, hashes])).hexdigest()

    def operations(self) -> Iterable[Operation]:
        return [function.operation for function in self._functions.values()]

    def operation(self, name: str) -> Operation | None:
        function = self._functions.get(name.rpartition(".")[2]) if name.startswith(f"{self.name}.") else None
        return function.operation if function is not None and function.operation.name == name else None

    def problems(self) -> tuple[ConnectorProblem, ...]:
        return ()

    async def call(self, call: Call) -> Any:
        """Raises `InvalidInput` for arguments outside the annotated types, `CallError` for what the function
        raised.
        """
        function = self._functions[call.operation.function]
        arguments = _bind(function, call)
        try:
            called = partial(function.implementation, **arguments)
            if function.is_async:
                value = await (still_async(called) if call.preview else called())
            else:
                value = await self._in_thread(still_sync(called) if call.preview else called)
        except InhabitError:
            raise
        except (ValueError, LookupError, PermissionError) as error:
            # What a product raises on purpose for its caller: the rest stays inside, logged by the bridge.
            effect, code = _effect_of(function, error), _error_code(function, error)
            raise CallError(str(error) or type(error).__name__, effect=effect, code=code) from error
        result = function.signature.result
        return value if result is None else result.serializer.to_python(value, mode="json", warnings=False)

    async def close(self) -> None:
        """What still runs in a thread is not waited for: it cannot be ended."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=self.name)
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)


def _with_resource(function: _Function, resource: Resource) -> _Function:
    """Raises `ConfigError` for a resource whose arguments are no parameters. Where it does not say so itself,
    parameters that are members of what the operation answers are members of the thing.
    """
    operation = function.operation
    given = operation.input_schema["properties"]
    only_one = not (resource.key or resource.argument)
    alone = resource.role in ("create", "list") or only_one
    if (not alone and resource.argument not in given) or (alone and resource.argument):
        one_of = f"one of {', '.join(given) or 'its parameters'}"
        raise ConfigError(
            f"{operation.name}: {resource.argument!r} is not the parameter that names a {resource.kind}",
            fix="none for create, list and the only one" if alone else one_of)
    told = (*resource.within, *(name.partition(".")[0] for name, _ in resource.members or ()))
    if strange := [name for name in told if name not in given]:
        speaks = f"which its resource {resource.kind} speaks of"
        parameters = ", ".join(given) or "there are none"
        raise ConfigError(f"{operation.name} has no parameter {', '.join(strange)}, {speaks}",
                          fix=f"`within` and `members` name parameters: {parameters}")
    if resource.members is None and (members := _members(operation, resource)):
        named = {resource.argument, *resource.within}
        shared = (name for name in given if name in members and name not in named)
        resource = replace(resource, members=tuple((name, name) for name in shared))
    return replace(function, operation=replace(operation, resource=resource))


def _members(operation: Operation, resource: Resource) -> Mapping[str, Any]:
    """Of the thing that an operation answers with; empty where nothing is said of it."""
    schemas = Schemas(operation.definitions)
    answer = schemas.members(operation.output_schema)
    return schemas.members(answer.get(resource.wrapped)) if resource.wrapped else answer


def _check_reconcile(operation: Operation, reads: _Function) -> None:
    """Raises `ConfigError` for what can never say whether a call of `operation` took effect."""
    given = {*operation.input_schema.get("properties", {}), "idempotency_key"}
    missing = [name for name in reads.operation.input_schema.get("required", ()) if name not in given]
    answers = inspect.signature(reads.implementation).return_annotation in (Reconciled, "Reconciled")
    wrong = (
        "it may write" if reads.operation.effects.may_write else
        f"it needs {', '.join(missing)}, which the call does not have" if missing else
        "" if answers else "it does not answer `Reconciled`")
    if wrong:
        raise ConfigError(
            f"{operation.name}: reconcile={reads.operation.name!r} cannot settle a call: {wrong}",
            fix="an operation that only reads, takes arguments of the call or `idempotency_key`, and is"
                " annotated `-> Reconciled`")


def _bind(function: _Function, call: Call) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, adapter in function.signature.parameters.items():
        if name in call.arguments:
            try:
                arguments[name] = adapter.validate_python(call.arguments[name])
            except ValidationError as error:
                first = error.errors()[0]
                pointer = "/".join(str(part) for part in ("", name, *first["loc"]))
                raise InvalidInput(f"{call.operation.name}: {pointer}: {first['msg']}",
                                   code="arguments_invalid") from None
    for name, kind in function.signature.injected.items():
        arguments[name] = call.principal if kind is Principal else call
    return arguments


def _effect_of(function: _Function, error: Exception) -> Effect:
    """An exception whose class carries `effect` speaks for itself; else nobody knows what was written before
    it.
    """
    effect: Any = getattr(error, "effect", None)
    if effect in _EFFECTS:
        return effect
    return "unknown" if function.operation.effects.may_write else "none"


def _error_code(function: _Function, error: Exception) -> str:
    """An exception whose class carries `code` speaks for itself; else the field's word for its kind."""
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return code
    if isinstance(error, LookupError):
        return "not_found"
    return "forbidden" if isinstance(error, PermissionError) else "rejected"


def _build(full_name: str, capability: str, function: Callable[..., Any], effects: Effects,
           errors: tuple[ErrorDoc, ...], timeout_ms: int | None, named: _Named,
           url_argument: str) -> _Function:
    signature = signature_of(full_name, function)
    operation = Operation(
        name=full_name, connector=capability, summary=signature.summary, description=signature.description,
        effects=effects, errors=errors, input_schema=signature.input_schema,
        output_schema=signature.output_schema, definitions=signature.definitions,
        origin=f"{function.__module__}.{function.__qualname__}", timeout_ms=timeout_ms, revert=named.revert,
        preview=named.preview, reconcile=named.reconcile, url_argument=url_argument)
    return _Function(operation, function, signature, inspect.iscoroutinefunction(function))


def _with_content(function: _Function, content: tuple[str, ...]) -> _Function:
    operation = function.operation
    known = function.signature.parameters
    if unknown := set(content) - known.keys():
        raise ConfigError(f"{operation.name}: content={sorted(unknown)} names no parameter",
                          fix=f"some of {', '.join(known) or 'none'}")
    return replace(function, operation=replace(operation, content=content))
