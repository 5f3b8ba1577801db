"""The bound of tokens is one: against counts that were taken with o200k, and against the encoder itself where it is at hand."""

from __future__ import annotations

import base64
import functools
import random
import shutil
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inhabit.runtime.tokens import BYTES_AT_MOST, token_bound

ENCODER = Path(__file__).parents[2] / "bench/.peers/npm/node_modules/gpt-tokenizer/cjs/encoding/o200k_base.js"
COUNTER = """
const { countTokens } = require(process.argv[1]);
const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", line => console.log(countTokens(JSON.parse(line), { disallowedSpecial: new Set() })));
"""
chance = random.Random(7)


def of(alphabet: str, length: int = 900) -> str:
    return "".join(chance.choices(alphabet, k=length))


SAMPLES = {
    "base64": base64.b64encode(chance.randbytes(700)).decode(), "hex": chance.randbytes(450).hex(), "lower": of(string.ascii_lowercase),
    "upper": of(string.ascii_uppercase), "letters": of(string.ascii_letters), "digits": of(string.digits), "punctuation": of(string.punctuation),
    "rare pairs": "qjxqzvwq" * 100, "rare capitals": "QJXZ" * 200, "capitals": "QbJkXz" * 150, "cjk": "".join(map(chr, range(0x4e00, 0x4e00 + 900, 3))),
    "cjk extension": "".join(map(chr, range(0x3400, 0x3400 + 300))), "hangul": "".join(map(chr, range(0xac00, 0xac00 + 900, 3))),
    "emoji": "".join(map(chr, range(0x1f300, 0x1f300 + 300))), "cyrillic": "съешь же ещё этих мягких французских булок " * 10, "thai": "สวัสดีชาวโลก" * 40,
    "private use": "".join(map(chr, range(0xe000, 0xe000 + 300))), "mathematical": "".join(map(chr, range(0x1d400, 0x1d400 + 300))),
    "cuneiform": "".join(map(chr, range(0x12000, 0x12000 + 300))), "spaces": "a" + " " * 900, "joined words": "thecustomerorderstatus" * 40,
    "prose": "The customer asked whether the last three orders could be cancelled before they are sent. " * 10,
    "records": orjson.dumps([{"id": f"o{n:05}", "status": "open", "total": n * 7, "created_at": "2026-11-21T07:00:00Z"} for n in range(20)]).decode(),
}


@functools.cache
def encoder() -> subprocess.Popen[bytes]:
    node = shutil.which("node")
    assert node is not None
    return subprocess.Popen([node, "-e", COUNTER, str(ENCODER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def real(text: str) -> int:
    process = encoder()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(orjson.dumps(text) + b"\n")
    process.stdin.flush()
    return int(process.stdout.readline())


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    if encoder.cache_info().currsize:
        process = encoder()
        process.communicate(timeout=10)


at_hand = pytest.mark.skipif(not ENCODER.exists() or shutil.which("node") is None, reason="`python -m bench.footprint` brings the encoder")


@pytest.mark.parametrize(("text", "tokens"), [
    # Counted with o200k_base. A bound of three bytes a token breaks at each.
    ("qjxqzvwq" * 100, 501), ("QJXZ" * 200, 600), ("𒀀𒀁𒀂𒀃𒀄" * 20, 400), ("!~^&*|<" * 50, 301), ("3fa9c1" * 100, 401),
])
def test_the_bound_holds_for_what_is_dear(text: str, tokens: int) -> None:
    assert token_bound(text.encode()) >= tokens


def test_plain_records_are_not_thought_twice_as_dear_as_they_are() -> None:
    assert token_bound(SAMPLES["records"].encode()) <= 2 * 662
    assert token_bound(SAMPLES["prose"].encode()) <= 2 * 161


@pytest.mark.parametrize("name", SAMPLES)
def test_a_token_is_never_thought_longer_than_it_says(name: str) -> None:
    body = orjson.dumps(SAMPLES[name])
    assert token_bound(body) * BYTES_AT_MOST >= len(body)


@at_hand
@pytest.mark.parametrize("name", SAMPLES)
def test_it_is_an_upper_bound_of_o200k(name: str) -> None:
    text = orjson.dumps(SAMPLES[name]).decode()
    assert token_bound(text.encode()) >= real(text)


TEXT = st.one_of(
    st.text(max_size=60), st.text(string.printable, max_size=60), st.text(string.ascii_letters + string.digits + "+/=", max_size=60), st.text("aeiouqxzj QXZ'\"_-.,", max_size=60),
    st.lists(st.sampled_from(["the", "customer", "Order", " ", "  ", "_", "'s", "'", "id", "ID", "é", "ab", "x", "1", "22", "\n", "\\", "status", "http", "://"]), max_size=20).map("".join))
JSON = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
                    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXT, inner, max_size=6), max_leaves=20)


@at_hand
@settings(max_examples=1_500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(JSON)
def test_it_is_an_upper_bound_of_o200k_for_any_json(value: Any) -> None:
    text = orjson.dumps(value).decode()
    assert token_bound(text.encode()) >= real(text)
