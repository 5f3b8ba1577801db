"""The check before a run: finds what is surely wrong, and never refuses what could be right."""

from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from inhabit.catalog import Catalog
from inhabit.catalog.check import check_calls
from inhabit.connectors.functions import Capability
from inhabit.contracts.operation import Operation
from inhabit.contracts.program import CallSite, Problem
from tests.catalog.catalog_kit import shop


@pytest.fixture
async def catalog(tmp_path: Path) -> Catalog:
    made = Catalog(tmp_path)
    await made.add(shop())
    return made


def _call(path: str, *, open: bool = False, **arguments: Any) -> CallSite:
    return CallSite(path, 3, 7, {"kind": "object", "open": open, "properties": arguments})


def _is(value: Any) -> dict[str, Any]:
    return {"kind": "literal", "value": value}


UNKNOWN = {"kind": "unknown"}


@pytest.mark.parametrize(("call", "code", "near", "said"), [
    (_call("shop.orders.cancl"), "unknown_operation", "shop.orders.cancel", "did you mean shop.orders.cancel"),
    (CallSite("shop.orders.cancel", 3, 7), "missing_parameter", "order_id", "lacks its required parameter order_id. It takes order_id, reason?"),
    (_call("shop.orders.cancel", orderId=UNKNOWN), "unknown_parameter", "order_id", "no parameter 'orderId'; did you mean order_id?"),
    (_call("shop.orders.cancel", order_id=UNKNOWN, zzz=UNKNOWN), "unknown_parameter", None, "no parameter 'zzz'. It takes"),
    (_call("shop.orders.list", sincee=UNKNOWN), "unknown_parameter", "since", "did you mean since?"),
    (_call("shop.orders.cancel", order_id=_is(5)), "wrong_type", None, "parameter order_id: expected string, got 5"),
    (_call("shop.orders.cancel", order_id=_is(None)), "wrong_type", None, "got null"),
    (_call("shop.orders.cancel", order_id={"kind": "array", "items": [], "open": True}), "wrong_type", None, "got an array"),
    (_call("shop.orders.cancel", order_id=UNKNOWN, reason=_is("lat")), "wrong_type", None, "expected one of 'late', 'other', got 'lat'"),
    (_call("shop.orders.cancel", order_id=UNKNOWN, reason={"kind": "number"}), "wrong_type", None, "expected one of"),
    (CallSite("shop.orders.cancel", 3, 7, _is("id")), "wrong_type", None, "takes one object"),
])
def test_what_is_surely_wrong_is_found(catalog: Catalog, call: CallSite, code: str, near: str | None, said: str) -> None:
    problems = catalog.check([call])
    assert problems and problems[0].code == code and (problems[0].line, problems[0].column) == (3, 7)
    assert said in problems[0].message
    if near:
        assert problems[0].nearest[0] == near


@pytest.mark.parametrize("call", [
    _call("shop.orders.cancel", open=True),
    _call("shop.orders.cancel", order_id={"kind": "string"}),
    _call("shop.orders.cancel", order_id=UNKNOWN, reason={"kind": "string"}),
    CallSite("shop.orders.cancel", 3, 7, UNKNOWN),
    CallSite("shop.orders.list", 3, 7),
    _call("shop.orders.list", since=_is("2024-01-01"), cursor=UNKNOWN),
    CallSite("shop.orders.cancel.bind", 3, 7),
    CallSite("shop.toString", 3, 7),
])
def test_what_could_be_right_passes(catalog: Catalog, call: CallSite) -> None:
    assert catalog.check([call]) == ()


def test_what_may_not_be_seen_is_unknown_and_not_suggested(catalog: Catalog) -> None:
    (problem,) = catalog.check([_call("shop.admin.codes")], lambda name: not name.startswith("shop.admin"))
    assert problem.code == "unknown_operation" and "shop.admin.codes" not in problem.nearest


def test_problems_are_bounded(catalog: Catalog) -> None:
    assert len(catalog.check([_call("shop.nope")] * 500)) == 20


_DEFS = {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "a": {"type": "integer"}}},
         "Name": {"type": "string", "enum": ["a", "b"]}}
_KEYS = ["a", "b", "c", "limit"]


class _Made:
    """Random schemas, values that often fit them, and what a parser might know of those values."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def schema(self, depth: int = 0) -> Any:
        scalar = ["string", "integer", "number", "boolean", "null"]
        kind = self.random.randrange(6 if depth > 2 else 11)
        match kind:
            case 0 | 1:
                return {"type": self.random.choice(scalar)}
            case 2:
                return {"type": self.random.sample(scalar, 2)}
            case 3:
                return {"enum": [self.any_value(1) for _ in range(self.random.randint(1, 3))]}
            case 4:
                return {"const": self.any_value(1)}
            case 5:
                return self.random.choice([True, {}, {"$ref": "#/$defs/Node"}, {"$ref": "#/$defs/Name"}, {"type": "object"}, {"type": "array"}])
            case 6:
                return {"type": "array", "items": self.schema(depth + 1)}
            case 7:
                return {"prefixItems": [self.schema(depth + 1)], "items": self.schema(depth + 1)}
            case 8:
                return {self.random.choice(["anyOf", "oneOf", "allOf"]): [self.schema(depth + 1) for _ in range(self.random.randint(1, 3))]}
            case _:
                return self.object(depth)

    def object(self, depth: int = 0) -> dict[str, Any]:
        properties = {key: self.schema(depth + 1) for key in self.random.sample(_KEYS, self.random.randint(0, 3))}
        required = [key for key in properties if self.random.random() < 0.4]
        schema = {"type": "object", "properties": properties, "required": required}
        more = self.random.choice([None, True, False, {"type": "string"}])
        return schema if more is None else {**schema, "additionalProperties": more}

    def any_value(self, depth: int = 0) -> Any:
        kind = self.random.randrange(5 if depth > 1 else 7)
        match kind:
            case 5:
                return [self.any_value(depth + 1) for _ in range(self.random.randint(0, 2))]
            case 6:
                return {key: self.any_value(depth + 1) for key in self.random.sample(_KEYS, self.random.randint(0, 2))}
            case _:
                return self.random.choice([None, True, False, 0, 1, -2, 0.0, 1.0, 1.5, "", "a", "b", "limit"])

    def value(self, schema: Any, depth: int = 0) -> Any:
        """A value that fits the schema more often than not."""
        if not isinstance(schema, dict) or depth > 6 or self.random.random() < 0.1:
            return self.any_value(1)
        if "$ref" in schema:
            return self.value(_DEFS[schema["$ref"][8:]], depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if word in schema:
                return self.value(self.random.choice(schema[word]), depth + 1)
        if "const" in schema or "enum" in schema:
            return self.random.choice(schema.get("enum", [schema.get("const")]))
        if "prefixItems" in schema:
            return [self.value(schema["prefixItems"][0], depth + 1), *(self.value(schema["items"], depth + 1) for _ in range(self.random.randrange(2)))]
        kind = schema.get("type")
        kind = self.random.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return {key: self.value(inner, depth + 1) for key, inner in schema.get("properties", {}).items()
                    if key in schema.get("required", []) or self.random.random() < 0.5}
        if kind == "array":
            return [self.value(schema.get("items"), depth + 1) for _ in range(self.random.randrange(3))]
        return self.random.choice({"string": ["a", "", "limit"], "integer": [1, -2, 1.0], "number": [1.5, 0], "boolean": [True, False],
                                   "null": [None]}.get(str(kind), [self.any_value(1)]))

    def known(self, value: Any) -> dict[str, Any]:
        """What a parser might know: all, some or nothing."""
        chance = self.random.random()
        if chance < 0.15:
            return {"kind": "unknown"}
        if isinstance(value, dict):
            kept = {key: self.known(inner) for key, inner in value.items() if self.random.random() < 0.8}
            return {"kind": "object", "properties": kept, "open": len(kept) < len(value) or chance < 0.4}
        if isinstance(value, list):
            return {"kind": "array", "items": [self.known(inner) for inner in value], "open": False} if chance < 0.7 else {
                "kind": "array", "items": [], "open": True}
        kind = {bool: "boolean", str: "string", int: "number", float: "number"}.get(type(value))
        return {"kind": kind} if kind and chance < 0.4 else {"kind": "literal", "value": value}


def _problems(schema: Any, arguments: dict[str, Any]) -> tuple[Problem, ...]:
    operation = Operation("x.y", schema, definitions=_DEFS)
    return check_calls([CallSite("x.y", 1, 1, arguments)], {"x.y": operation}.get, None, lambda _name: ())


def _valid(schema: Any, value: Any) -> bool:
    return jsonschema_rs.Draft202012Validator({**schema, "$defs": _DEFS}).is_valid(value)


@pytest.mark.parametrize("seed", range(4))
def test_valid_arguments_are_never_refused(seed: int) -> None:
    """But for near misses of declared names, which no schema forbids where it is silent on other properties."""
    made = _Made(seed)
    tried = 0
    for _ in range(2_000):
        schema = made.object()
        value = made.value(schema)
        if not isinstance(value, dict) or not _valid(schema, value):
            continue
        shape = made.known(value)
        found = [problem for problem in _problems(schema, shape) if problem.code != "unknown_parameter"
                 or schema.get("additionalProperties", False) is not False]
        assert found == [], (schema, value, shape)
        tried += 1
    assert tried > 700


def test_a_refusal_of_known_arguments_is_true() -> None:
    """The other side: what is refused, and wholly known, is invalid (but for near misses of parameter names)."""
    made = _Made(99)
    refused = 0
    for _ in range(3_000):
        schema = made.object()
        value = made.value(schema)
        problems = _problems(schema, {"kind": "literal", "value": value}) if isinstance(value, dict) else ()
        if problems and problems[0].code != "unknown_parameter":
            assert not _valid(schema, value), (schema, value)
            refused += 1
    assert refused > 100


class _Counted(dict[str, Any]):
    looked_at = 0

    def __getitem__(self, name: str) -> Any:
        self.looked_at += 1
        assert self.looked_at <= 20_000, "the check walks the schema out"
        return super().__getitem__(name)


def test_a_schema_that_multiplies_at_each_level_does_not_hold_the_host() -> None:
    levels, width = 12, 8                                       # 8 to the 12th: days, one by one
    types = _Counted({f"T{n}": {"allOf": [{"$ref": f"#/$defs/T{n + 1}"}] * width} for n in range(levels)})
    types[f"T{levels}"] = {"type": "object"}
    operation = Operation("evil.go", {"type": "object", "properties": {"x": {"$ref": "#/$defs/T0"}}}, definitions=types)
    argument = {"kind": "object", "open": False, "properties": {}}
    assert check_calls([_call("evil.go", x=argument)], lambda _: operation, None, lambda _: ()) == ()
    assert types.looked_at > 1_000


def test_what_stands_behind_many_references_is_still_found() -> None:
    types: dict[str, Any] = {f"T{n}": {"allOf": [{"$ref": f"#/$defs/T{n + 1}"}] * 3} for n in range(5)}
    types["T5"] = {"type": "string"}
    operation = Operation("deep.go", {"type": "object", "properties": {"x": {"$ref": "#/$defs/T0"}}}, definitions=types)
    assert [found.code for found in check_calls([_call("deep.go", x=_is(1))], lambda _: operation, None, lambda _: ())] == ["wrong_type"]


async def test_an_unknown_namespace_is_refused_with_the_nearest_names(catalog: Catalog) -> None:
    (problem,) = catalog.check([CallSite("shp.orders.cancel", 1, 1)])
    assert problem.code == "unknown_operation" and problem.nearest[0] == "shop.orders.cancel"


async def test_a_source_without_operations_is_named_as_such_to_those_who_may_see_it(catalog: Catalog) -> None:
    await catalog.add(Capability("mail").connector())
    (problem,) = catalog.check([CallSite("mail.send", 1, 1)], lambda name: name.startswith("mail."))
    assert problem.code == "source_empty" and "the source mail is configured but has no operations now" in problem.message
    (hidden,) = catalog.check([CallSite("mail.send", 1, 1)], lambda name: name.startswith("shop."))
    assert hidden.code == "unknown_operation" and "configured" not in hidden.message
