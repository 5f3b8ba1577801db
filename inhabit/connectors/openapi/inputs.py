"""Parameters and request body of an operation as one flat input object, and the plan to take it apart again.

Path, query, header and cookie parameters and the properties of a JSON (or form, or multipart) object body
stand side by side under names that a program can write; `plan` maps each back to its place on the wire. A body
that is not an object, or whose properties would meet a parameter, stands under `body`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inhabit.connectors.names import parameter as parameter_name
from inhabit.connectors.names import unique
from inhabit.connectors.openapi.document import Broken, Documents, Place, array, obj, text
from inhabit.connectors.openapi.media import choose, kind_of
from inhabit.connectors.openapi.schemas import SchemaCompiler

__all__ = ["InputCompiler", "Inputs"]

_STYLES = {"path": "simple", "header": "simple", "query": "form", "cookie": "form"}
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization", "content-length", "host", "cookie"})
_IDEMPOTENCY = frozenset({"idempotency-key", "x-idempotency-key"})
_MAX_FLAT = 400
_DESCRIPTION_CHARS = 1_500

Inputs = tuple[dict[str, Any], dict[str, Any]]


class InputCompiler:
    def __init__(self, documents: Documents, schemas: SchemaCompiler, credentials: frozenset[tuple[str, str]]) -> None:
        """`credentials`: (in, name) of parameters that security schemes fill, and which programs never see."""
        self._documents = documents
        self._schemas = schemas
        self._credentials = credentials

    def compile(self, shared: Place, own: Place, body: Place, path: str) -> Inputs:
        """The input schema and the call plan. Raises `Broken` when the operation cannot be called at all."""
        plan: dict[str, Any] = {"params": []}
        entries = self._parameters(shared, own, path, plan)
        wires = [parameter_name(entry["name"]) for entry, _ in entries]
        args = unique(wires)
        properties: dict[str, Any] = {}
        required: list[str] = []
        for (entry, schema), arg in zip(entries, args, strict=True):
            properties[arg] = schema
            if entry.pop("required"):
                required.append(arg)
            plan["params"].append({"arg": arg, **entry})
        result: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        self._body(body, plan, result, required)
        if required:
            result["required"] = required
        return result, plan

    # -- parameters -------------------------------------------------------------------------------------------

    def _parameters(self, shared: Place, own: Place, path: str, plan: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        found: dict[tuple[str, str], Place] = {}
        for places in (shared, own):
            for index in range(len(array(places.value))):
                try:
                    place = self._documents.resolved(places / index)
                except Broken as error:
                    self._schemas.note(error.place, error.reason)
                    continue
                where, name = obj(place.value).get("in"), obj(place.value).get("name")
                if isinstance(where, str) and isinstance(name, str) and name and where in _STYLES:
                    found[where, name] = place
                else:
                    self._schemas.note(place, "a parameter needs a name, and `in` of path, query, header or cookie")
        entries: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for (where, name), place in found.items():
            if where == "header" and name.lower() in _IDEMPOTENCY:
                plan["idempotency"] = name
            elif not self._hidden(where, name):
                entries.append(self._parameter(where, name, place))
        return entries + self._forgotten(path, {name for where, name in found if where == "path"})

    def _hidden(self, where: str, name: str) -> bool:
        return (where == "header" and name.lower() in _IGNORED_HEADERS) or (
            (where, name.lower() if where == "header" else name) in self._credentials)

    def _parameter(self, where: str, name: str, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
        value = obj(place.value)
        style = value.get("style") if isinstance(value.get("style"), str) else _STYLES[where]
        explode = value["explode"] if isinstance(value.get("explode"), bool) else style == "form"
        entry: dict[str, Any] = {"name": name, "in": where, "style": style, "explode": explode,
                                 "required": where == "path" or value.get("required") is True}
        if value.get("allowReserved") is True:
            entry["reserved"] = True
        content = obj(value.get("content"))
        if content and "schema" not in value:
            media = choose(str(key) for key in content) or "application/json"
            entry["json"] = kind_of(media) == "json"
            schema = self._schemas.convert(place / "content" / media / "schema")
        else:
            schema = self._schemas.convert(place / "schema")
        description = text(value.get("description"), _DESCRIPTION_CHARS)
        if description:
            schema["description"] = description
        if value.get("deprecated") is True:
            schema["deprecated"] = True
        return entry, schema

    def _forgotten(self, path: str, known: set[str]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """`{placeholders}` of the path that no parameter describes."""
        names = [part.partition("}")[0].strip("+*?&/#.;") for part in path.split("{")[1:] if "}" in part]
        return [({"name": name, "in": "path", "style": "simple", "explode": False, "required": True}, {"type": "string"})
                for name in dict.fromkeys(names) if name and name not in known]

    # -- body -------------------------------------------------------------------------------------------------

    def _body(self, body: Place, plan: dict[str, Any], result: dict[str, Any], required: list[str]) -> None:
        if body.value is None:
            return
        try:
            place = self._documents.resolved(body)
        except Broken as error:
            self._schemas.note(error.place, error.reason)
            return
        content = obj(obj(place.value).get("content"))
        media = choose(str(key) for key in content)
        if media is None:
            return
        kind = kind_of(media)
        needed = obj(place.value).get("required") is True
        described: dict[str, Any] = {"media": "application/json" if "*" in media else media, "kind": kind, "required": needed}
        plan["body"] = described
        schema = place / "content" / media / "schema"
        if kind in {"json", "form", "multipart"}:
            flat = self._flat(schema, multipart=kind == "multipart")
            if flat is not None and self._spread(flat, described, result, required, needed):
                described.update(_encodings(obj((place / "content" / media / "encoding").value)))
                return
        self._whole(schema, obj(place.value), described, result, required, kind)

    def _spread(self, flat: dict[str, Any], described: dict[str, Any], result: dict[str, Any], required: list[str],
                needed: bool) -> bool:
        names = list(flat["properties"])
        args = [parameter_name(name) for name in names]
        properties = result["properties"]
        if len(names) > _MAX_FLAT or len(set(args)) < len(args) or any(arg in properties for arg in args):
            return False
        described["props"] = dict(zip(args, names, strict=True))
        properties.update(zip(args, flat["properties"].values(), strict=True))
        if needed:
            required.extend(arg for arg, name in described["props"].items() if name in flat["required"])
        if flat["open"] is not None:
            described["open"] = True
            result["additionalProperties"] = flat["open"]
        return True

    def _whole(self, schema: Place, body: Mapping[str, Any], described: dict[str, Any], result: dict[str, Any],
               required: list[str], kind: str) -> None:
        properties = result["properties"]
        arg = next(name for name in ("body", "request_body", "body_", "body__") if name not in properties)
        described["arg"] = arg
        if kind == "binary":
            properties[arg] = {"anyOf": [self._schemas.binary(), {"type": "string"}]}
        elif kind == "text":
            properties[arg] = {"type": "string"}
        else:
            properties[arg] = self._schemas.convert(schema)
        description = text(body.get("description"), _DESCRIPTION_CHARS)
        if description and "description" not in properties[arg]:
            properties[arg]["description"] = description
        if described["required"]:
            required.append(arg)

    def _flat(self, place: Place, *, multipart: bool) -> dict[str, Any] | None:
        """Properties of an object schema, through $ref and allOf; None when it is not plainly an object."""
        found: dict[str, Any] = {"properties": {}, "required": set(), "open": None}
        if not self._collect(place, found, 0, multipart=multipart) or not found["properties"]:
            return None
        return found

    def _collect(self, place: Place, found: dict[str, Any], depth: int, *, multipart: bool) -> bool:
        try:
            place = self._documents.resolved(place)
        except Broken:
            return False
        schema = obj(place.value)
        if depth > 8 or any(key in schema for key in ("oneOf", "anyOf", "not", "if", "patternProperties")):
            return False
        kind = schema.get("type", "object")
        if kind != "object" and not (isinstance(kind, Sequence) and not isinstance(kind, str) and "object" in kind):
            return False
        for index in range(len(array(schema.get("allOf")))):
            if not self._collect(place / "allOf" / index, found, depth + 1, multipart=multipart):
                return False
        for name in obj(schema.get("properties")):
            self._property(place / "properties" / name, str(name), found, multipart=multipart)
        found["required"].update(name for name in array(schema.get("required")) if isinstance(name, str))
        extra = schema.get("additionalProperties")
        if extra is True:
            found["open"] = {}
        elif isinstance(extra, Mapping):
            found["open"] = self._schemas.convert(place / "additionalProperties")
        return True

    def _property(self, place: Place, name: str, found: dict[str, Any], *, multipart: bool) -> None:
        schema = obj(place.value)
        if schema.get("readOnly") is True:
            found["properties"].pop(name, None)
            return
        found["properties"][name] = self._part(place) if multipart else self._schemas.convert(place)

    def _part(self, place: Place) -> dict[str, Any]:
        """A part of a multipart body: bytes come as references or, for small ones, as text."""
        try:
            schema = obj(self._documents.resolved(place).value)
        except Broken:
            return {}
        if _is_binary(schema):
            part: dict[str, Any] = {"anyOf": [self._schemas.binary(), {"type": "string"}]}
        elif schema.get("type") == "array" and _is_binary(obj(schema.get("items"))):
            part = {"type": "array", "items": self._schemas.binary()}
        else:
            return self._schemas.convert(place)
        description = text(schema.get("description"), _DESCRIPTION_CHARS)
        return {**part, "description": description} if description else part


def _is_binary(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "file" or schema.get("format") == "binary" or (
        schema.get("type", "string") == "string" and isinstance(schema.get("contentMediaType"), str)
        and "contentEncoding" not in schema and not str(schema["contentMediaType"]).startswith("text/"))


def _encodings(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """What an `encoding` object says of parts: content type, and form style."""
    types: dict[str, str] = {}
    styles: dict[str, list[Any]] = {}
    for name, item in encoding.items():
        described = obj(item)
        media = described.get("contentType")
        if isinstance(media, str):
            types[name] = media
        if "style" in described or "explode" in described:
            style = str(described.get("style", "form"))
            styles[name] = [style, described.get("explode", style == "form") is True]
    return {**({"types": types} if types else {}), **({"styles": styles} if styles else {})}
