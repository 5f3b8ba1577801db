"""What holders can make of a token: less, and nothing else (E02)."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from biscuit_auth import Biscuit, BiscuitBuilder, BlockBuilder, KeyPair
from hypothesis import given, settings
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.errors import InhabitError, InvalidInput, LimitExceeded
from inhabit.kernel.grants import Grant, Permitted
from inhabit.tokens import MAX_BLOCKS, attenuate, mint, read, shown
from inhabit.tokens.chain import MAX_CHARS, PREFIX, key_bytes, public_key

ADA = Principal("ada", "acme", "helper")
PAIR = KeyPair()
PUBLIC = key_bytes(PAIR.public_key)
NOW = 1_000
END = 10_000
NAMES = ["shop.orders.list", "shop.orders.cancel", "shop.stock.list", "github.issues.list", "mail.send"]
PATTERNS = ["**", "shop.**", "shop.orders.*", "shop.orders.cancel", "github.**", "mail.send"]
CAVEATS: list[dict[str, Any]] = [
    {"argument": "amount", "max": 100}, {"argument": "amount", "max": 10}, {"effects": {"writes": "none"}}, {"calls": 3}, {"calls": 0},
    {"expires_ms": NOW + 1}, {"expires_ms": NOW}, {"argument": "path", "prefix": "docs/"}, {"argument": "path", "one_of": ["docs/a", 1]}]
OPERATIONS = [Operation(name, {}, effects=Effects(writes=writes)) for name in NAMES for writes in ("none", "external")]
ARGUMENTS: list[dict[str, Any]] = [{}, {"amount": 10}, {"amount": 100, "path": "docs/a"}, {"amount": 1_000, "path": "docs/../a"}]

CLAUSE = st.builds(lambda pattern, caveats: {"pattern": pattern, "caveats": caveats}, st.sampled_from(PATTERNS),
                   st.lists(st.sampled_from(CAVEATS), max_size=2))
GRANT = st.lists(CLAUSE, max_size=3)
STEP = st.fixed_dictionaries({}, optional={"grant": GRANT, "expires_ms": st.integers(1, END)}).filter(bool)


def minted(grant: Any = ("shop.**",), expires_ms: int = END) -> str:
    return mint(PAIR.private_key, PUBLIC, token_id="0" * 16, principal=ADA, grant=Grant.of(*grant), expires_ms=expires_ms)


def taken(token: str) -> Any:
    return read(token, lambda raw: public_key(raw) if raw == PUBLIC else None)


def allowed(grant: Grant, now_ms: int = NOW) -> set[tuple[int, int, int]]:
    """Every call of the small world that it permits, after 0 and after 3 calls."""
    return {(o, a, used) for o, operation in enumerate(OPERATIONS) for a, arguments in enumerate(ARGUMENTS) for used in (0, 3)
            if isinstance(grant.permits(operation, arguments, now_ms, {f"{layer}.{n}": used for layer in range(40) for n in range(4)}), Permitted)}


def foreign(token: str, source: str, values: dict[str, Any] | None = None) -> str:
    """A block as the library itself would append it, whatever it says."""
    head, _, body = token.partition(".")
    return f"{head}.{Biscuit.from_base64(body, PAIR.public_key).append(BlockBuilder(source, values)).to_base64()}"


def test_a_token_says_what_was_issued() -> None:
    said = taken(minted())
    assert (said.id, said.principal, said.expires_ms, said.chain, said.name) == ("0" * 16, ADA, END, (), "0" * 16)
    assert said.issued == Grant.of("shop.**")
    assert allowed(said.grant) == allowed(Grant.of("shop.**")) and not allowed(said.grant, END)


@settings(max_examples=150, deadline=None)
@given(GRANT, st.lists(STEP, min_size=1, max_size=4), st.sampled_from([NOW, END // 2, END]))
def test_E02_narrowing_never_widens(grant: Any, steps: list[dict[str, Any]], now_ms: int) -> None:
    token = minted(grant)
    before = taken(token)
    for step in steps:
        try:
            token = attenuate(token, **step)
        except InvalidInput:
            assert step["expires_ms"] > before.expires_ms
            continue
        after = taken(token)
        assert allowed(after.grant, now_ms) <= allowed(before.grant, now_ms)
        assert after.expires_ms <= before.expires_ms and after.principal == ADA and after.id == before.id
        assert after.chain[:-1] == before.chain and len(after.chain[-1]) == 32
        if "grant" in step:
            assert allowed(after.grant, now_ms) <= allowed(Grant.of(*step["grant"]), now_ms)
        before = after


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_E02_a_token_that_was_altered_anywhere_is_refused(data: st.DataObject) -> None:
    token = attenuate(minted(), grant=["shop.orders.*"], expires_ms=5_000)
    raw = bytearray(base64.urlsafe_b64decode(token.partition(".")[2]))
    whole = bytes(raw)
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "swap", "repeat"]))
    at, to = sorted((data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(1, len(raw)))))
    if kind == "flip":
        raw[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del raw[at:to]
    elif kind == "insert":
        raw[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    elif kind == "swap":
        raw[:] = raw[to:] + raw[:to]
    else:
        raw[at:at] = raw[at:to]
    if bytes(raw) == whole:
        return
    text = token.partition(".")[0] + "." + base64.urlsafe_b64encode(raw).decode()
    try:
        said = taken(text)
    except InvalidInput as error:
        assert error.specific_code == "token_invalid"
    else:   # another spelling of the same chain: then it says the same
        assert said == taken(token)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode())), st.booleans())
def test_D01_bytes_that_are_no_token_are_refused_and_nothing_worse(body: str, framed: bool) -> None:
    text = f"{minted().partition('.')[0]}.{body}" if framed else body
    for reading in (taken, shown):
        with pytest.raises(InvalidInput):
            reading(text)


def test_E02_a_block_cannot_be_stripped_or_taken_from_another_token() -> None:
    token, other = attenuate(minted(), grant=["shop.orders.list"]), attenuate(minted(["**"]), grant=["**"])
    head, _, body = token.partition(".")
    raw, strange = base64.urlsafe_b64decode(body), base64.urlsafe_b64decode(other.partition(".")[2])
    first = base64.urlsafe_b64decode(minted().partition(".")[2])
    mixed = {raw[:at] + strange[at:] for at in range(1, len(first))}   # its first block with the end of another chain, wherever the seam is
    for mixture in mixed - {raw, strange}:
        with pytest.raises(InvalidInput):
            taken(f"{head}.{base64.urlsafe_b64encode(mixture).decode()}")


def test_E02_a_key_of_ones_own_signs_nothing_that_is_taken() -> None:
    own = KeyPair()
    forged = mint(own.private_key, key_bytes(own.public_key), token_id="0" * 16, principal=ADA, grant=Grant.of("**"), expires_ms=END)
    assert shown(forged).principal == ADA
    with pytest.raises(InvalidInput, match="not in use"):
        taken(forged)
    lying = f"{minted().partition('.')[0]}.{forged.partition('.')[2]}"
    with pytest.raises(InvalidInput, match="does not hold"):
        taken(lying)


@pytest.mark.parametrize("source", [
    'inhabit("**")', "inhabit(hex:7b7d)", "check if true", "allow_all(true)", 'right("x") <- inhabit($x)', "reject if operation($x)",
    "check if time($t), $t < 2999-01-01T00:00:00Z or true", 'check all operation($x), $x == "a"', "inhabit(hex:00, 1)",
    "inhabit(hex:7b226772616e74223a5b222a2a225d7d); inhabit(hex:7b226772616e74223a5b222a2a225d7d)",
    "inhabit(hex:7b226772616e74223a5b222a2a225d7d); check if true", ""])
def test_E02_whatever_else_a_later_block_says_the_whole_token_is_refused(source: str) -> None:
    with pytest.raises(InvalidInput, match="not known here"):
        taken(foreign(minted(), source))


@pytest.mark.parametrize("said", [
    {"grant": ["**"], "user": "root"}, {"id": "1" * 16}, {"expires_ms": 10**15, "tenant": "other"}, {"v": 1}, {"grant": ["**"], "or": True},
    {"expires_ms": "never"}, {"expires_ms": 0}, {"expires_ms": -1}, {"expires_ms": True}, {"expires_ms": None}, {"expires_ms": 1e18},
    {"grant": "**"}, {"grant": None}, {"grant": [{"pattern": "**", "caveats": [{"or": []}]}]}, {"grant": ["shop.*; OR true"]},
    {"grant": [{"pattern": "**", "caveats": [{"until": 3}]}]}, {"grant": {"layers": []}}, {}, [], "**", 1, None])
def test_E02_an_unknown_caveat_key_or_value_is_refused(said: Any) -> None:
    token = foreign(minted(), "inhabit({body})", {"body": orjson.dumps(said, option=orjson.OPT_SORT_KEYS)})
    with pytest.raises(InvalidInput):
        taken(token)


@pytest.mark.parametrize("body", [b'{"grant":["mail.send"],"grant":["**"]}', b'{"grant": ["**"]}', b'{"grant":["**"],"expires_ms":5}', b"{", b"\xff"])
def test_E02_a_block_has_one_spelling(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="not known here"):
        taken(foreign(minted(), "inhabit({body})", {"body": body}))


def test_E02_a_later_expiry_changes_nothing() -> None:
    late = foreign(minted(), "inhabit({body})", {"body": orjson.dumps({"expires_ms": 10**15})})
    assert taken(late).expires_ms == END and not allowed(taken(late).grant, END)
    with pytest.raises(InvalidInput, match="at the latest"):
        attenuate(minted(), expires_ms=END + 1)


def test_E02_a_block_signed_by_a_third_party_is_refused() -> None:
    head, _, body = minted().partition(".")
    biscuit, other = Biscuit.from_base64(body, PAIR.public_key), KeyPair()
    block = biscuit.third_party_request().create_block(other.private_key, BlockBuilder("inhabit({body})", {"body": b'{"grant":["**"]}'}))
    with pytest.raises(InvalidInput, match="third party"):
        taken(f"{head}.{biscuit.append_third_party(other.public_key, block).to_base64()}")


@pytest.mark.parametrize("said", [{"v": 2}, {"id": "../../x"}, {"user": "a/b"}, {"tenant": ""}, {"agent": 3}, {"grant": [{"pattern": "!"}]}, {"more": 1}])
def test_a_first_block_that_is_not_ours_is_refused_even_when_signed(said: dict[str, Any]) -> None:
    whole = {"v": 1, "id": "0" * 16, "tenant": "acme", "user": "ada", "agent": None, "expires_ms": END, "grant": ["**"]} | said
    body = BiscuitBuilder("inhabit({body})", {"body": orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)}).build(PAIR.private_key).to_base64()
    with pytest.raises(InvalidInput):
        taken(f"{minted().partition('.')[0]}.{body}")


def test_B30_a_token_has_bounds() -> None:
    token = minted()
    for _ in range(MAX_BLOCKS - 1):
        token = attenuate(token, expires_ms=END)
    assert len(taken(token).chain) == MAX_BLOCKS - 1
    with pytest.raises(LimitExceeded, match="token_blocks"):
        attenuate(token, expires_ms=END)
    with pytest.raises(InvalidInput, match="too many blocks"):
        taken(foreign(token, "inhabit({body})", {"body": b'{"expires_ms":5}'}))
    with pytest.raises(LimitExceeded, match="token_chars"):
        attenuate(minted(), grant=[f"shop.o{n}" for n in range(1_000)])
    with pytest.raises(InvalidInput, match="another form"):
        taken(PREFIX + "a" * MAX_CHARS + ".a")


@pytest.mark.parametrize("step", [{}, {"grant": ["no good!"]}, {"grant": [{"pattern": "**", "caveats": [{"until": 3}]}]}, {"expires_ms": 0}])
def test_what_narrows_nothing_or_is_not_understood_is_not_made(step: dict[str, Any]) -> None:
    with pytest.raises(InhabitError):
        attenuate(minted(), **step)


def test_an_empty_grant_grants_nothing() -> None:
    assert not allowed(taken(attenuate(minted(), grant=[])).grant)
