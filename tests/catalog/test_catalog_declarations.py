"""Whole declaration files: accepted by the languages' own checkers, whatever the schemas say."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inhabit.catalog import Catalog
from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import ErrorDoc, Operation
from tests.catalog.catalog_kit import GivenConnector, shop, tool

_BREAKOUT = "*/ } declare const pwned: 1; /* \u2028 \n\r // ''' \"\"\" \\ \x00 ${x} `"

_TYPES: dict[str, Any] = {
    "Tree": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "string"}]}},
    "Self": {"anyOf": [{"$ref": "#/$defs/Self"}, {"type": "null"}]},
    "Ping": {"oneOf": [{"$ref": "#/$defs/Pong"}, {"type": "integer"}]},
    "Pong": {"allOf": [{"$ref": "#/$defs/Ping"}]},
    "Base": {"type": "object", "properties": {"kind": {"type": "string"}, "child": {"$ref": "#/$defs/Cat"}}, "required": ["kind"]},
    "Cat": {"allOf": [{"$ref": "#/$defs/Base"}, {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}}]},
    "Dog": {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"kind": {"const": "dog"}}}]},
    "Pet": {"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "discriminator": {"propertyName": "kind"}},
    "string": {"type": "object", "properties": {"string": {"$ref": "#/$defs/string"}, "str": {"type": "string"}, "list": {"type": "array"}}},
    "Promise": {"type": "string"},
    "Array": {"type": "array", "prefixItems": [{"type": "integer"}, {"enum": ["a", None]}], "items": False, "minItems": 1},
    "a-b": {"type": "object", "properties": {"a-b": {"type": "number"}, "": {"type": "string"}, "class": {}, "__dunder": {}, "Pet": {"$ref": "#/$defs/Pet"}}},
    "a_b": {"type": "object", "additionalProperties": {"type": "integer"}},
    "1st": {"type": "object", "properties": {"x": {"type": "integer"}}, "additionalProperties": {"$ref": "#/$defs/a_b"}},
    "наме": {"enum": [1, 2.5, "x", True, None, "quote\"'\\\n\u2028"]},
    _BREAKOUT: {"type": "object", "description": _BREAKOUT, "properties": {_BREAKOUT: {"const": _BREAKOUT, "description": _BREAKOUT}}},
    "Nullable": {"type": ["string", "null"]},
    "Old": {"type": "integer", "nullable": True},
    "Never": False,
    "Anything": True,
    "Broken": {"type": 7, "properties": [1], "enum": "x", "required": "y", "allOf": {"a": 1}, "items": [[]]},
    "Mixed": {"type": ["object", "array", "string"], "properties": {"a": {"type": "boolean"}}, "items": {"type": "null"}},
    "File": {"type": "object", "properties": {"$binary": {"type": "string"}}},
    "Raw": {"type": "string", "format": "binary"},
    "Pattern": {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
    "OnlyRequired": {"type": "object", "required": ["ghost"], "anyOf": [{"required": ["ghost"]}]},
    "Wide": {"enum": [f"v{n}" for n in range(500)]},
}


def _odd() -> GivenConnector:
    everything = {"type": "object", "properties": {f"p{n}": {"$ref": f"#/$defs/{name}"} for n, name in enumerate(_TYPES)},
                  "required": ["p0", "p3"]}
    operations = [
        Operation("odd.list", everything, {"$ref": "#/$defs/Pet"}, _BREAKOUT, _BREAKOUT, definitions=_TYPES, connector="odd",
                  errors=(ErrorDoc(_BREAKOUT, _BREAKOUT),)),
        Operation("odd.str", {"type": "object", "properties": {"list": {"type": "array"}, "self": {}, "class": {}, "int": {"type": "integer"}}},
                  {"type": "array", "items": {"type": "string"}}, connector="odd"),
        Operation("odd.deep.deeper.list", {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"more": {}}}]}, None,
                  definitions=_TYPES, connector="odd"),
        Operation("odd.deep", {"oneOf": [{"$ref": "#/$defs/Cat"}, {"type": "object"}]}, {"type": "null"}, definitions=_TYPES, connector="odd"),
        Operation("odd.own_types", {"type": "object", "properties": {"x": {"$ref": "#/$defs/Base"}, "y": {"$ref": "#/$defs/Missing"}}},
                  {"$ref": "#/$defs/Base"}, definitions={"Base": {"type": "object", "properties": {"other": {"type": "integer"}}}}, connector="odd"),
        Operation("odd.open", {}, {}, connector="odd"),
        Operation("odd.free", {"type": "object", "additionalProperties": {"type": "string"}}, {"type": "object"}, connector="odd"),
        Operation("odd.inline", {"type": "object", "properties": {"filter": {"type": "object", "properties": {
            "range": {"type": "object", "properties": {"from": {"type": "integer"}, "to": {"type": "integer"}}}}}}},
            {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}}}},
            connector="odd", effects=Effects(writes="none")),
    ]
    return GivenConnector("odd", operations)


async def _catalog(tmp_path: Path) -> tuple[Catalog, GivenConnector]:
    catalog, connector = Catalog(tmp_path), _odd()
    await catalog.add(connector)
    return catalog, connector


def _ty(file: Path, version: str = "3.11") -> str:
    done = subprocess.run([str(Path(sys.executable).parent / "ty"), "check", "--python-version", version, "--output-format", "concise",
                           "--no-progress", str(file)], capture_output=True, text=True, check=False, cwd=file.parent)
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize("version", ["3.11", "3.14"])
async def test_python_stubs_of_odd_schemas_pass_ty(tmp_path: Path, version: str) -> None:
    catalog, connector = await _catalog(tmp_path)
    stub = tmp_path / "odd.pyi"
    stub.write_text("".join(catalog.declarations(connector, "python")))
    assert _ty(stub, version) == ""
    ast.parse(stub.read_text())


async def test_the_stub_for_a_check_passes_ty_and_finds_mistakes(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(shop())
    (tmp_path / "stubs.pyi").write_text(catalog.stubs_for(["shop.orders.cancel", "shop.orders.list", "no.such"]))
    good = tmp_path / "good.py"
    good.write_text("from stubs import shop\nasync def main():\n    order = await shop.orders.cancel(order_id='a', reason='late')\n"
                    "    print(order['status'], (order.get('items') or [])[0]['price-cents'], await shop.report(), await shop.orders.other(1))\n")
    assert _ty(good) == ""
    bad = tmp_path / "bad.py"
    bad.write_text("from stubs import shop\nasync def main():\n    await shop.orders.cancel(order=1)\n    await shop.orders.cancel(order_id=1)\n"
                   "    await shop.orders.cancel(order_id='a', reason='never')\n    (await shop.orders.cancel(order_id='a'))['nope']\n")
    found = _ty(bad)
    assert [line for line in (3, 4, 5, 6) if f"bad.py:{line}:" in found] == [3, 4, 5, 6]


async def test_upstream_text_cannot_leave_its_place(tmp_path: Path) -> None:
    catalog, connector = await _catalog(tmp_path)
    for language in ("typescript", "python"):
        whole = "".join(catalog.declarations(connector, language))
        shown = catalog.search("odd.list", language=language, budget_tokens=20_000).text
        for text in (whole, shown):
            assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028\u2029]", text)
            assert not re.search(r"^\s*declare const pwned", text, re.MULTILINE)
        assert "const pwned" not in _code(whole, language) + _code(shown, language)


def _code(text: str, language: str) -> str:
    """The text without comments and string literals."""
    quoted = r'"(?:[^"\\\n]|\\.)*"'
    single = quoted.replace('"', "'")
    docs = r'"{3}(?:[^"\\]|\\.|"(?!""))*"{3}'
    kinds = [r"#[^\n]*", docs, quoted, single] if language == "python" else [r"//[^\n]*", r"/\*.*?\*/", quoted]
    pattern = "|".join(kinds)
    return re.sub(pattern, "", text, flags=re.DOTALL)


async def test_the_typescript_of_odd_schemas(tmp_path: Path) -> None:
    catalog, connector = await _catalog(tmp_path)
    text = "".join(catalog.declarations(connector))
    for expected in (
        "type Tree = (Tree | string)[];", "type Self = unknown; // refers to nothing but itself",
        "type Cat = Base & {", "type Pet = Cat | Dog;", "interface string_ {", "type Promise_ = string;",
        'type Array_ = [number, ("a" | null)?];', "interface a_b {", "type a_b_2 = { [key: string]: number };",
        "type T1st = { x?: number } & { [key: string]: a_b_2 };", "type Nullable = string | null;", "type Old = number | null;",
        "type Never = never;", "type Anything = unknown;", "type File = Binary;", "type Raw = Binary;",
        "type Pattern = { [key: string]: number };", "interface OnlyRequired { ghost: unknown }", "interface Base_2 { other?: number }",
        "function open(args?: { [key: string]: unknown }): Promise<unknown>;", "namespace deep { namespace deeper { ",
    ):
        assert expected in text, expected


async def test_large_files_are_streamed(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(GivenConnector("big", [tool(f"big.t{n}") for n in range(500)]))
    chunks = catalog.declarations("big")
    assert len(next(chunks)) < 500 and sum(1 for _ in chunks) > 400


async def test_declarations_by_name(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    await catalog.add(shop())
    text = "".join(catalog.declarations(["shop.report", "shop.nothing"]))
    assert "function report()" in text and "cancel" not in text
