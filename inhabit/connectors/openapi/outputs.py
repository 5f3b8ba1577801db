"""What an operation answers with: one schema over all its 2xx responses, and its documented errors."""

from __future__ import annotations

from typing import Any

from inhabit.connectors.openapi.document import Broken, Documents, Place, obj, text
from inhabit.connectors.openapi.media import choose, kind_of
from inhabit.connectors.openapi.schemas import SchemaCompiler

__all__ = ["OutputCompiler"]

_MAX_ACCEPTED = 3
_ERROR_CHARS = 200
_HEAD_SCHEMA = {
    "type": "object", "required": ["status", "headers"],
    "properties": {"status": {"type": "integer"}, "headers": {"type": "object", "additionalProperties": {"type": "string"}}},
}


class OutputCompiler:
    def __init__(self, documents: Documents, schemas: SchemaCompiler) -> None:
        self._documents = documents
        self._schemas = schemas

    def compile(self, responses: Place, method: str, plan: dict[str, Any]) -> tuple[dict[str, Any] | None, list[list[str]]]:
        """The output schema (None when nothing is declared) and `[code, description]` of each error."""
        successes: list[Place] = []
        errors: list[list[str]] = []
        for status in obj(responses.value):
            try:
                place = self._documents.resolved(responses / status)
            except Broken as error:
                self._schemas.note(error.place, error.reason)
                continue
            code = str(status).upper()
            if code.startswith("2"):
                successes.append(place)
            elif code[:1] in "345" and len(code) == 3:
                errors.append([f"http_{code.lower()}", text(obj(place.value).get("description"), _ERROR_CHARS)])
        if method == "head":
            return dict(_HEAD_SCHEMA), errors
        if not successes and "default" in obj(responses.value):
            successes = self._default(responses)
        return self._schema(successes, plan), errors

    def _default(self, responses: Place) -> list[Place]:
        try:
            return [self._documents.resolved(responses / "default")]
        except Broken:
            return []

    def _schema(self, successes: list[Place], plan: dict[str, Any]) -> dict[str, Any] | None:
        accepted: list[str] = []
        schemas: list[dict[str, Any]] = []
        kinds: set[str] = set()
        for place in successes:
            content = obj(obj(place.value).get("content"))
            media = choose(str(key) for key in content)
            if media is None:
                if not any(option == {"type": "null"} for option in schemas):
                    schemas.append({"type": "null"})
                continue
            accepted += [str(key) for key in content if str(key) not in accepted and kind_of(str(key)) == kind_of(media)]
            kinds.add(kind_of(media))
            schema = self._content(place / "content" / media, kind_of(media))
            if schema is None:
                return self._plan(plan, accepted, kinds)
            if schema not in schemas:
                schemas.append(schema)
        self._plan(plan, accepted, kinds)
        if not schemas:
            return None
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _plan(self, plan: dict[str, Any], accepted: list[str], kinds: set[str]) -> None:
        plan["accept"] = accepted[:_MAX_ACCEPTED]
        if len(kinds) == 1 and kinds != {"json"}:
            plan["answer"] = "text" if kinds & {"text", "form"} else "binary"

    def _content(self, place: Place, kind: str) -> dict[str, Any] | None:
        """None: this answer can be anything."""
        if kind in {"binary", "multipart"}:
            return self._schemas.binary()
        if kind in {"text", "form"}:
            return {"type": "string"}
        schema = place / "schema"
        if schema.value is None:
            return None
        return self._schemas.convert(schema) or None
