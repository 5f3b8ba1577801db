"""An operation as the terms it is found by.

What is taken: the name's own words, the source's name for it (method and path), summary, description,
parameters with their docs and enums, property names of bodies and results two levels deep, tags. All bounded,
so that one absurd document cannot blow up the index.

Links: an operation that needs the id of an entity (`GET /people/{person_id}`) is of no use without one that
finds the entity. `needs` holds the entities whose id is required, `finds` those whose ids the operation
gives, the weight telling how directly. Search follows these edges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inhabit.catalog.nodes import is_list, is_object
from inhabit.catalog.words import ACTIONS, STOP_WORDS, Lexer, action_of, stem
from inhabit.contracts.operation import Operation, Schema

__all__ = ["Document", "document_of", "raw_document"]

_TEXT_CHARS = 1_500
_PARAMETERS = 120
_PROPERTIES = 80
_ENUM_VALUES = 30

_ORIGIN = re.compile(r"\s*(GET|PUT|POST|PATCH|DELETE|HEAD|OPTIONS|TRACE)\s+(/\S*|\S+/\S*)", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\{([^{}/]+)\}|(?<=/):([A-Za-z_]\w*)|<([A-Za-z_][\w:]*)>")
_ID_SUFFIX = re.compile(r"[_-]?(?:ids?|uuids?|guids?|slugs?|identifiers?|keys?|handles?)$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"(?<=[a-z0-9])(?:IDs?|Ids?|UUIDs?|Uuids?|Guids?|Slugs?|Identifiers?|Keys?)$")
_SEARCH_WORDS = frozenset(stem(word) for word in ("search", "find", "query", "lookup", "typeahead", "autocomplete"))
_KIND_PARAMETERS = frozenset(["type", "types", "kind", "kinds", "resource_type", "entity", "entity_type", "object_type"])
_SEARCH_PARAMETERS = frozenset(["q", "query", "search", "keyword", "keywords", "term", "text", "filter", "name", "title", "email", "search_term", "searchterm", "s"])


@dataclass(frozen=True, slots=True)
class Document:
    """Terms by field, action terms, and links (entity stem → weight 0-1)."""

    name: str
    fields: Mapping[str, list[str]]
    needs: tuple[str, ...] = ()
    finds: Mapping[str, float] = field(default_factory=dict[str, float])


def document_of(operation: Operation, lexer: Lexer) -> Document:
    """The document of an operation. Bad schemas lose their part, never raise."""
    root = operation.name.split(".", 1)[0]
    own = operation.name[len(root) + 1 :] if operation.name.startswith(root + ".") and operation.connector else operation.name
    return raw_document(operation.name, own, operation.origin, operation.summary, operation.description,
                        operation.input_schema, operation.output_schema, operation.definitions, operation.tags, lexer)


def raw_document(name: str, own: str, origin: str, summary: str, description: str, input_schema: Schema | None,
                 output_schema: Schema | None, definitions: Mapping[str, Schema], tags: Iterable[str],
                 lexer: Lexer) -> Document:
    """A document from parts; `own` is the name without its connector, `origin` may be empty."""
    route = _ORIGIN.match(origin) or _ORIGIN.match(own)
    parameters = _properties(input_schema, definitions)
    required = _required(input_schema)
    name_terms = lexer.terms(_PLACEHOLDER.sub(" ", own))
    fields = {
        "name": name_terms + _actions_of_name(name_terms, route),
        "path": lexer.terms(_PLACEHOLDER.sub(" ", route.group(2))) if route and origin else [],
        "summary": lexer.content(summary[:_TEXT_CHARS]) if summary else [],
        "description": lexer.content(description[:_TEXT_CHARS]) if description and description != summary else [],
        "parameters": _parameter_terms(parameters, lexer),
        "shape": _shape_terms(output_schema, definitions, lexer),
        "tags": [term for tag in list(tags)[:8] for term in lexer.terms(tag[:80])],
    }
    needs = _needs(route.group(2) if route else "", required)
    finds = _finds(route, name_terms, parameters, needs, fields)
    return Document(name, fields, tuple(sorted(needs)), finds)


# -- fields ---------------------------------------------------------------------------------------------------


def _actions_of_name(terms: list[str], route: re.Match[str] | None) -> list[str]:
    """What the operation does: by its method, and by the first verb of its name."""
    found: list[str] = []
    if route and (action := action_of(route.group(1))):
        found.append(action)
    for term in terms[:6]:
        if term in ACTIONS and not (route and term == stem(route.group(1).lower())):
            found.extend(action for action in ACTIONS[term] if action not in found)
            break
    return found


def _parameter_terms(parameters: Mapping[str, Any], lexer: Lexer) -> list[str]:
    found: list[str] = []
    for key, schema in list(parameters.items())[:_PARAMETERS]:
        found.extend(lexer.terms(key))
        if is_object(schema):
            text = schema.get("description")
            if isinstance(text, str):
                found.extend(lexer.content(text[:300]))
            for value in _enum(schema):
                found.extend(lexer.terms(value))
    return found


def _enum(schema: Mapping[str, Any]) -> Iterable[str]:
    values = schema.get("enum")
    if is_list(values):
        return [value[:60] for value in values[:_ENUM_VALUES] if isinstance(value, str)]
    return ()


def _shape_terms(schema: Schema | None, definitions: Mapping[str, Schema], lexer: Lexer) -> list[str]:
    """Property names of a result, two levels deep, and the names of its types; each distinct name once."""
    names: dict[str, None] = {}
    level: list[Any] = [schema]
    for _depth in range(3):
        deeper: list[Any] = []
        for node in level:
            node = _unwrapped(node, definitions, names)
            for key, value in _properties(node, definitions).items():
                names.setdefault(key)
                deeper.append(value)
                if len(names) >= _PROPERTIES:
                    return [term for name in names for term in lexer.terms(name)]
        level = deeper[:_PROPERTIES]
    return [term for name in names for term in lexer.terms(name)]


def _unwrapped(node: Any, definitions: Mapping[str, Schema], names: dict[str, None]) -> Any:
    """The object behind references and array wrappers; type names met on the way are noted."""
    for _step in range(6):
        if not is_object(node):
            return None
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith("#/$defs/"):
            names.setdefault(ref[8:])
            node = definitions.get(ref[8:])
        elif "items" in node:
            node = node["items"]
        else:
            return node
    return None


def _properties(schema: Any, definitions: Mapping[str, Schema]) -> dict[str, Any]:
    """Properties of an object schema, those of a referred body and of `allOf` parts included."""
    found: dict[str, Any] = {}
    stack: list[tuple[Any, int]] = [(schema, 0)]
    while stack and len(found) < _PARAMETERS:
        node, depth = stack.pop()
        if not is_object(node):
            continue
        ref = node.get("$ref")
        if isinstance(ref, str) and ref.startswith("#/$defs/") and depth < 3:
            stack.append((definitions.get(ref[8:]), depth + 1))
        properties = node.get("properties")
        if is_object(properties):
            for key, value in properties.items():
                found.setdefault(key, value)
        if depth < 3:
            for word in ("allOf", "anyOf", "oneOf"):
                parts = node.get(word)
                if is_list(parts):
                    stack.extend((part, depth + 1) for part in parts[:8])
    return found


def _required(schema: Any) -> set[str]:
    if not is_object(schema):
        return set()
    names = schema.get("required")
    return {name for name in names if isinstance(name, str)} if is_list(names) else set()


# -- links ----------------------------------------------------------------------------------------------------


def _needs(path: str, required: Iterable[str]) -> set[str]:
    """Entities whose id must be known before the call: `/people/{id}` and `person_id` both need "person"."""
    found: set[str] = set()
    parts = [part for part in path.split("/") if part]
    for index, part in enumerate(parts):
        match = _PLACEHOLDER.search(part)
        if match is None:
            continue
        entity = _entity(next(group for group in match.groups() if group))
        if entity is None and index > 0 and not _PLACEHOLDER.search(parts[index - 1]):
            entity = _last_stem(parts[index - 1])
        if entity:
            found.add(entity)
    for name in required:
        if (entity := _entity(name)) is not None:
            found.add(entity)
    return found


def _entity(parameter: str) -> str | None:
    """`person_id`, `personId`, `person-uuid` → person; `id` and names without an id ending → None."""
    for pattern in (_ID_SUFFIX, _CAMEL_ID):
        base = pattern.sub("", parameter)
        if base != parameter and base.strip("_-"):
            return _last_stem(base)
    return None


def _last_stem(text: str) -> str | None:
    words = [word for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text) if word.lower() not in STOP_WORDS]
    return stem(words[-1].lower()) if words else None


def _finds(route: re.Match[str] | None, name_terms: list[str], parameters: Mapping[str, Any], needs: set[str],
           fields: Mapping[str, list[str]]) -> dict[str, float]:
    """Entities that the operation can find, with how directly: a text search 1, a plain list less."""
    if route and (route.group(1).upper() not in {"GET", "POST"} or route.group(2).rstrip("/").endswith("}")):
        return {}
    searches = not _SEARCH_WORDS.isdisjoint(name_terms) or not _SEARCH_WORDS.isdisjoint(fields["path"])
    reads = route.group(1).upper() == "GET" if route else "~read" in fields["name"]
    if not reads and not searches:
        return {}
    by_text = any(key.lower() in _SEARCH_PARAMETERS for key in parameters)
    weight = (0.5 + 0.3 * searches + 0.2 * by_text) * 0.6 ** len(needs)
    nouns = _nouns(route.group(2).rstrip("/").rsplit("/", 1)[-1] if route else "", name_terms)
    found = {noun: weight for noun in nouns if noun not in needs}
    if searches and not nouns:   # one search for everything: what it finds is in an enum, or is not said
        found["*"] = 0.5 * weight
        for key, schema in parameters.items():
            if key.lower() in _KIND_PARAMETERS:
                found.update({stem(value.lower()): weight for value in _kinds(schema) if value.isalpha()})
    return found


def _nouns(segment: str, name_terms: list[str]) -> set[str]:
    """What an operation is about: the last part of its path, else the words of its name without verbs."""
    words = [stem(word.lower()) for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", segment)] if segment else [
        term for term in name_terms if not term.startswith("~")]
    return {word for word in words if word not in _SEARCH_WORDS and word not in STOP_WORDS and (segment or word not in ACTIONS)}


def _kinds(schema: Any) -> Iterable[str]:
    if is_object(schema):
        items = schema.get("items")
        yield from _enum(schema)
        if is_object(items):
            yield from _enum(items)
