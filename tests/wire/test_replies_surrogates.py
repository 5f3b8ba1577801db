"""Half a surrogate pair in a literal of a program is left for the call itself to refuse."""

from inhabit.contracts.program import CallSite, Prepared, Problem
from inhabit.wire.replies import decode_prepared, encode_prepared


def test_D15_prepared_program_with_a_lone_surrogate_travels() -> None:
    site = CallSite("shop.x", 1, 2, {"kind": "object", "properties": {"a": {"kind": "literal", "value": "\ud800"}}, "open": False})
    bare = CallSite("shop.y", 3, 4, None)
    prepared = Prepared("code \ud800", (site, bare), (Problem("near \ud800", 1, 1, "syntax", ("\ud800",)),))
    arrived = decode_prepared(encode_prepared(prepared))
    assert [c.arguments for c in arrived.calls] == [{"kind": "unknown"}, None]
    assert arrived.code == "code ?" and arrived.problems[0].nearest == ("?",)
