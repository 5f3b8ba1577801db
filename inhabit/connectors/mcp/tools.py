"""A server's list of tools as operations. Every word of the list is hostile input.

A tool that cannot be used is left out and becomes a `ConnectorProblem`; the others load. Names are sanitised and
unique in the order of the list; the server's own name stays in `origin` and is what is sent. Resources become
three operations under `NAME.resources`. Prompts are templates for a person's client and are not operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from inhabit.connectors.mcp.schemas import SchemaProblem, normalise, renamed
from inhabit.connectors.mcp.text import clean, one_line
from inhabit.connectors.names import identifier, unique
from inhabit.contracts.connector import ConnectorProblem
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import ErrorDoc, Operation
from inhabit.errors import InvalidInput

__all__ = ["MAX_LISTING_BYTES", "MAX_TOOLS", "RESOURCES", "Listing", "Tool", "Tools", "listing_bytes", "read_tools"]

MAX_TOOLS = 5_000
MAX_LISTING_BYTES = 16 * 1024 * 1024
MAX_TOOL_NAME_CHARS = 256
MAX_PROBLEMS = 200

RESOURCES = "resources"
_READ_EFFECTS = Effects(reads="private", trust="untrusted", writes="none", irreversible=False, idempotent=True)
_ERRORS = (ErrorDoc("upstream_error", "the server answered with an error, or died"),)


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server told when asked, as plain data: the form that is cached on disk."""

    tools: tuple[Mapping[str, Any], ...] = ()
    resources: bool = False
    server: str = ""
    instructions: str = ""
    problems: tuple[tuple[str, str], ...] = ()      # tool name or method, reason

    def as_value(self) -> dict[str, Any]:
        return {"tools": list(self.tools), "resources": self.resources, "server": self.server,
                "instructions": self.instructions, "problems": [list(p) for p in self.problems]}

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Listing:
        """Raises `KeyError`, `TypeError` or `ValueError` for anything that `as_value` did not make."""
        tools = [cast("Mapping[str, Any]", tool) for tool in value["tools"] if isinstance(tool, Mapping)]
        problems = tuple((str(where), str(why)) for where, why in value["problems"])
        return cls(tuple(tools), value["resources"] is True, str(value["server"]), str(value["instructions"]), problems)


@dataclass(frozen=True, slots=True)
class Tool:
    """`remote`: the server's name, sent as it is. `parameters`: written name → server's name, where they differ."""

    operation: Operation
    remote: str
    raw: Mapping[str, Any]
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    declares_output: bool = False

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A parameter has one name, the written one: under the server's own it would pass by what a grant bounds.
        Raises `InvalidInput` for the other.
        """
        for written, own in self.parameters.items():
            if own in given and own not in self.parameters:
                raise InvalidInput(f"{self.operation.name}: unknown argument {own!r}", fix=f"write {written}", code="arguments_invalid")
        return {self.parameters.get(name, name): value for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Tools:
    by_operation: Mapping[str, Tool] = field(default_factory=dict[str, Tool])
    resources: Mapping[str, Operation] = field(default_factory=dict[str, Operation])
    problems: tuple[ConnectorProblem, ...] = ()

    def operations(self) -> Iterable[Operation]:
        yield from (tool.operation for tool in self.by_operation.values())
        yield from self.resources.values()

    def operation(self, name: str) -> Operation | None:
        tool = self.by_operation.get(name)
        return tool.operation if tool is not None else self.resources.get(name)


def read_tools(connector: str, listing: Listing, effects_of: Callable[[str, Mapping[str, Any]], Effects]) -> Tools:
    """Operations of a listing. `effects_of` gets the operation's name and the server's tool."""
    problems = [ConnectorProblem(connector, one_line(where, 120), one_line(why)) for where, why in listing.problems]
    named: list[tuple[str, Mapping[str, Any]]] = []
    seen: set[str] = set()
    for raw in listing.tools[:MAX_TOOLS]:
        remote = raw.get("name")
        reason = _unusable_name(remote, seen)
        if reason is not None:
            problems.append(ConnectorProblem(connector, one_line(str(remote), 120), reason))
            continue
        seen.add(cast("str", remote))
        named.append((cast("str", remote), raw))
    if len(listing.tools) > MAX_TOOLS:
        problems.append(ConnectorProblem(connector, "tools/list", f"lists more than {MAX_TOOLS} tools; the rest is left out"))

    functions = unique([RESOURCES, *(identifier(remote) for remote, _ in named)])[1:]
    found: dict[str, Tool] = {}
    for function, (remote, raw) in zip(functions, named, strict=True):
        name = f"{connector}.{function}"
        try:
            found[name] = _tool(connector, name, remote, raw, effects_of)
        except SchemaProblem as problem:
            problems.append(ConnectorProblem(connector, one_line(remote, 120), str(problem)))
    resources = _resource_operations(connector) if listing.resources else {}
    return Tools(found, resources, tuple(problems[:MAX_PROBLEMS]))


def _unusable_name(remote: object, seen: set[str]) -> str | None:
    if not isinstance(remote, str) or not remote:
        return "a tool without a name is left out"
    if len(remote) > MAX_TOOL_NAME_CHARS:
        return f"a tool name longer than {MAX_TOOL_NAME_CHARS} characters is left out"
    if remote in seen:
        return "the server lists this name twice; the first is kept"
    return None


def _tool(connector: str, name: str, remote: str, raw: Mapping[str, Any],
          effects_of: Callable[[str, Mapping[str, Any]], Effects]) -> Tool:
    given = normalise(raw.get("inputSchema"), parameters=True)
    schema, back = renamed(given.schema)
    declared = raw.get("outputSchema")
    answer = normalise(declared, taken=given.definitions) if declared is not None else None
    operation = Operation(
        name=name, input_schema=schema, output_schema=answer.schema if answer is not None else None,
        summary=_summary(raw), description=clean(raw.get("description")), effects=effects_of(name, raw),
        definitions=given.definitions | (answer.definitions if answer is not None else {}),
        errors=_ERRORS, connector=connector, origin=remote)
    return Tool(operation, remote, raw, back, declares_output=declared is not None)


def _summary(raw: Mapping[str, Any]) -> str:
    description = clean(raw.get("description"))
    if description:
        return one_line(description.split("\n\n")[0].split(". ")[0], 200)
    return one_line(raw.get("title"), 200)


def _resource_operations(connector: str) -> dict[str, Operation]:
    text: dict[str, Any] = {"type": "string"}
    resource: dict[str, Any] = {
        "type": "object", "required": ["uri", "name"],
        "properties": {"uri": text, "name": text, "title": text, "description": text, "mime_type": text, "size": {"type": "integer"}}}
    template: dict[str, Any] = {
        "type": "object", "required": ["uri_template", "name"],
        "properties": {"uri_template": text, "name": text, "title": text, "description": text, "mime_type": text}}
    content: dict[str, Any] = {
        "type": "object", "required": ["uri"],
        "properties": {"uri": text, "mime_type": text, "text": text,
                       "data": {"type": "object", "description": "a reference to binary content", "properties": {"$binary": text}}}}
    nothing: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    by_uri: dict[str, Any] = {"type": "object", "required": ["uri"], "additionalProperties": False,
                              "properties": {"uri": {"type": "string", "description": "as listed, or made from a template"}}}
    table = (
        ("list", "resources/list", nothing, resource, "The resources that this server offers"),
        ("templates", "resources/templates/list", nothing, template, "URI templates (RFC 6570) of further resources"),
        ("read", "resources/read", by_uri, content, "Read a resource: its contents, nearly always one"),
    )
    made = (Operation(name=f"{connector}.{RESOURCES}.{function}", input_schema=schema, output_schema={"type": "array", "items": item},
                      summary=summary, description=summary, effects=_READ_EFFECTS, errors=_ERRORS, connector=connector, origin=origin)
            for function, origin, schema, item, summary in table)
    return {operation.name: operation for operation in made}


def listing_bytes(tools: Iterable[Mapping[str, Any]]) -> int:
    """Size of a list of tools as JSON. Raises `TypeError` for what is not plain JSON."""
    return sum(len(orjson.dumps(tool)) for tool in tools)



