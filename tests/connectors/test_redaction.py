"""Scrubbing: what is escaped is read as its reader would, and costs nothing where no piece of a secret is about."""

from __future__ import annotations

import cProfile
import json

import pytest

from inhabit.connectors.redaction import Redactor

SECRET = "sk-live/4f+1c0a==Zq"


def calls_of(body: bytes, secret: str = SECRET) -> int:
    """Functions called to clean it, however fast each is."""
    profile = cProfile.Profile()
    profile.runcall(Redactor([secret]).clean, body)
    return sum(entry.callcount for entry in profile.getstats())


def test_an_answer_in_another_script_is_not_read_escape_by_escape() -> None:
    assert calls_of(json.dumps("ナ" * 50_000).encode()) < 100
    assert calls_of(json.dumps("ナ" * 50_000).encode() + b"live") > 50_000, "where a piece of the secret is about, it is"


@pytest.mark.parametrize("escape", ["\\u{:04x}", "\\u{:04X}", "%{:02x}", "%25{:02X}", "&#{};", "&#x{:x};", "&#X{:X};"])
@pytest.mark.parametrize("which", ["all", "one"])
def test_C18_letters_and_digits_that_nobody_needs_to_escape_are_read_all_the_same(escape: str, which: str) -> None:
    at = range(len(SECRET)) if which == "all" else [SECRET.index("c")]
    echoed = "".join(escape.format(ord(letter)) if place in at else letter for place, letter in enumerate(SECRET))
    assert echoed != SECRET
    assert b"[redacted]" in Redactor([SECRET]).clean(f'{{"a": "ナ {echoed} \\u30ca"}}'.encode())


def test_a_secret_without_a_run_of_letters_is_found_escaped() -> None:
    assert Redactor(["a+b/c=d-"]).clean(b"?k=a%2Bb%2fc%3Dd-") == b"?k=[redacted]"
