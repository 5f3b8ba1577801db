"""A Python function's signature as schemas: annotations become types, its docstring becomes docs.

Invariant: who a program runs for is never asked of it. A parameter annotated `Principal` or `Call`, and
nothing else, is filled in by the runtime; one whose type merely mentions them is refused.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, PydanticJsonSchemaWarning

from inhabit.contracts.connector import Call
from inhabit.contracts.operation import Schema
from inhabit.contracts.principal import Principal
from inhabit.errors import ConfigError

__all__ = ["Signature", "signature_of"]

_PARAMETER_DOC = re.compile(r"^\s*(?::param\s+)?(\w+)\s*(?:\([^)]*\))?:\s+(.+)$")
_INJECTED = (Principal, Call)
_NO_JSON = (complex,)
"""Types that pydantic writes as text: a program would be told that a string is asked for."""
_JSON_TYPES = "annotate with pydantic models, dataclasses, TypedDicts or JSON types"


@dataclass(slots=True)
class Signature:
    """`parameters`: what a program gives, by name; `injected`: what the runtime does. `result` is None where
    nothing is said of it.
    """

    summary: str
    description: str
    parameters: dict[str, TypeAdapter[Any]] = field(default_factory=dict[str, TypeAdapter[Any]])
    injected: dict[str, type] = field(default_factory=dict[str, type])
    properties: dict[str, Schema] = field(default_factory=dict[str, Schema])
    required: list[str] = field(default_factory=list[str])
    definitions: dict[str, Schema] = field(default_factory=dict[str, Schema])
    result: TypeAdapter[Any] | None = None
    output_schema: Schema | None = None

    @property
    def input_schema(self) -> Schema:
        return {"type": "object", "properties": self.properties, "required": self.required,
                "additionalProperties": False}


def signature_of(full_name: str, function: Callable[..., Any]) -> Signature:
    """Raises `ConfigError` for a parameter or a result that has no JSON form, or that no program may give."""
    with _placed(full_name, "its annotations"):
        hints = typing.get_type_hints(function, include_extras=True)
    summary, description, docs = _docs(function)
    found = Signature(summary, description)
    for parameter in inspect.signature(function).parameters.values():
        with _placed(full_name, f"parameter {parameter.name}"):
            _add_parameter(found, full_name, parameter, hints.get(parameter.name, Any), docs)
    with _placed(full_name, "its result"):
        if "return" in hints:
            _add_result(found, full_name, hints["return"])
    return found


def _add_parameter(
    found: Signature, full_name: str, parameter: inspect.Parameter, hint: Any, docs: Mapping[str, str],
) -> None:
    if hint in _INJECTED:
        found.injected[parameter.name] = hint
        return
    _check_parameter(full_name, parameter, hint)
    found.parameters[parameter.name] = adapter = TypeAdapter(hint)
    schema = _schema(adapter, "validation", found.definitions)
    if parameter.name in docs:
        schema = {**schema, "description": docs[parameter.name]}
    if parameter.default is parameter.empty:
        found.required.append(parameter.name)
    elif not isinstance(parameter.default, FieldInfo) and parameter.default is not None:
        schema = {**schema, "default": adapter.dump_python(parameter.default, mode="json")}
    found.properties[parameter.name] = schema


def _add_result(found: Signature, full_name: str, hint: Any) -> None:
    if _mentions(hint, _NO_JSON):
        raise ConfigError(f"{full_name}: its result: {_shown_type(hint)} has no JSON form", fix=_JSON_TYPES)
    found.result = TypeAdapter(hint)
    found.output_schema = _schema(found.result, "serialization", found.definitions)


@contextmanager
def _placed(full_name: str, at: str) -> Generator[None]:
    """What pydantic and Python say of a type, as what is wrong where."""
    try:
        yield
    except (PydanticSchemaGenerationError, PydanticUserError, PydanticJsonSchemaWarning, NameError) as error:
        said = str(error).splitlines()[0]
        raise ConfigError(f"{full_name}: {at}: a type has no JSON form: {said}", fix=_JSON_TYPES) from error


def _check_parameter(full_name: str, parameter: inspect.Parameter, hint: Any) -> None:
    named = f"{full_name}: parameter {parameter.name}"
    if parameter.name in ("self", "cls") and parameter.annotation is parameter.empty:
        raise ConfigError(f"{named} would be asked of the program: this is a method of a class",
                          fix="declare a function, or a bound method: capability.operation(thing.method)")
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise ConfigError(f"{named} must be a plain named one")
    # `Principal | None`, `list[Principal]`, …: pydantic would read them from the program's own arguments
    if _mentions(hint, _INJECTED):
        raise ConfigError(f"{named} would let a program say for whom it runs",
                          fix="annotate it with Principal (or Call) alone, without a default")
    if _mentions(hint, _NO_JSON):
        raise ConfigError(f"{named}: {_shown_type(hint)} has no JSON form", fix=_JSON_TYPES)


def _mentions(hint: Any, types: tuple[Any, ...]) -> bool:
    return any(hint is one for one in types) or any(_mentions(part, types) for part in typing.get_args(hint))


def _shown_type(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


class _Untitled(GenerateJsonSchema):
    """Without `"title": "Order Id"` beside `order_id`: it tells a model nothing and costs tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _schema(
    adapter: TypeAdapter[Any], mode: typing.Literal["validation", "serialization"],
    definitions: dict[str, Schema],
) -> dict[str, Any]:
    schema = adapter.json_schema(mode=mode, ref_template="#/$defs/{model}", schema_generator=_Untitled)
    definitions.update(schema.pop("$defs", {}))
    return schema


def _docs(function: Callable[..., Any]) -> tuple[str, str, dict[str, str]]:
    """Summary line, the rest, and `name: text` lines of known parameters."""
    text = inspect.getdoc(function) or ""
    summary, _, rest = text.partition("\n")
    names = set(inspect.signature(function).parameters)
    parameters: dict[str, str] = {}
    kept: list[str] = []
    for line in rest.splitlines():
        match = _PARAMETER_DOC.match(line)
        if match and match[1] in names:
            parameters[match[1]] = match[2].strip()
        elif line.strip().lower() not in {"args:", "arguments:", "parameters:"}:
            kept.append(line)
    return summary.strip(), "\n".join(kept).strip(), parameters
