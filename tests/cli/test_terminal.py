"""Nothing from outside moves the cursor."""

from __future__ import annotations

import json

import pytest

from inhabit.cli.terminal import safe, say, show_json, table

SEQUENCES = [
    "\x1b]52;c;c2VjcmV0\x07", "\x1b]0;title\x07", "\x1b[2J\x1b[H", "\x9b31m", "\x1bP+q\x1b\\", "a\rb", "\x08\x08", "\x7f",
    "\u202eevil", "\u2066x\u2069", "\u200bx", "\ufeff", "\u2028", "\x00", "\x85", "\ud800",
]


@pytest.mark.parametrize("text", SEQUENCES)
def test_A27_ansi_terminal_text_from_outside_is_inert(text: str, capsys: pytest.CaptureFixture[str]):
    say(text)
    table(("A",), [(text,)])
    show_json({"x": text} if text.isprintable() or "\ud800" not in text else {"x": "\x1b"})
    printed = capsys.readouterr().out
    assert all(c == "\n" or (c.isprintable() and c not in "\u202e\u2066\u2069\u200b\ufeff") for c in printed)


def test_ordinary_text_is_left_as_it_is():
    assert safe("Grüße, 日本語 🙂\n\tok") == "Grüße, 日本語 🙂\n\tok"
    assert safe("a\nb\tc", inline=True) == "a\\nb\\tc"


def test_what_show_json_prints_is_still_the_same_json(capsys: pytest.CaptureFixture[str]):
    value = {"a": "\x1b[2J\x9b\u202e\u2028é", "b": [1, None, True]}
    show_json(value)
    assert json.loads(capsys.readouterr().out) == value
