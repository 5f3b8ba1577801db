"""Information flow: private data, untrusted input and a way out never meet unasked."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.contracts.principal import Principal
from inhabit.kernel.decide import Facts, RunFacts, decide, settled
from inhabit.kernel.effects import READS, TRUST, WRITES
from inhabit.kernel.flow import CLEAN, Labels, Source, guard, labelled, labels_of, path
from inhabit.kernel.grants import Grant

INBOX, WEB = Source("inbox.list", 3), Source("web.fetch", 5)
BOTH = Labels(INBOX, WEB)
LABELS = st.builds(Labels, st.sampled_from([None, INBOX]), st.sampled_from([None, WEB]))
EFFECTS = [Effects(*values) for values in itertools.product(READS, TRUST, WRITES, (False, True), (False, True))]


@pytest.mark.parametrize("labels", [CLEAN, Labels(INBOX), Labels(None, WEB), BOTH])
@pytest.mark.parametrize("attended", [False, True])
def test_E13_only_the_three_together_are_stopped(labels: Labels, attended: bool) -> None:
    for effects in EFFECTS:
        said = guard(effects, labels, attended=attended)
        if effects.writes == "external" and labels is BOTH:
            assert said is not None and said[0] == ("ask" if attended else "deny")
        elif effects.may_write and effects.irreversible and labels.untrusted:
            assert said is not None and said[0] == "ask"
        else:
            assert said is None


def test_refusal_names_the_path() -> None:
    said = guard(Effects("none", "trusted", "external", False), BOTH, attended=False)
    assert said == ("deny", "private data, untrusted input and an outward write meet here: "
                            "private since call 3 inbox.list, untrusted since call 5 web.fetch")
    assert path(Labels(None, Source("conversation"))) == "untrusted from the start (conversation)"


def test_labels_of_a_header_are_what_the_run_begins_with() -> None:
    begun = labelled([("untrusted", "web.fetch"), ("private", "inbox.list")])
    assert begun == Labels(Source("inbox.list"), Source("web.fetch")) and labelled([]) == CLEAN
    assert path(begun) == "private from the start (inbox.list), untrusted from the start (web.fetch)"


@pytest.mark.parametrize("attended", [False, True])
def test_C25_a_built_url_after_private_data_is_stopped(attended: bool) -> None:
    reading = Effects("public", "untrusted", "none", False, True)
    said = guard(reading, Labels(INBOX), attended=attended, built_url=True)
    assert said is not None and said[0] == ("ask" if attended else "deny") and "since call 3 inbox.list" in said[1]
    assert guard(reading, Labels(None, WEB), attended=attended, built_url=True) is None
    assert guard(reading, BOTH, attended=attended, built_url=False) is None


def test_C25_an_operation_with_a_url_is_looked_at_each_time() -> None:
    fetch = Operation("web.get", {}, effects=Effects("public", "untrusted", "none", False, True), url_argument="url")
    assert settled(fetch, Grant.of("**")) is None
    assert decide(Facts(fetch, {}, 0, labels=Labels(INBOX), built_url=True), Grant.of("**")).verdict == "deny"


def test_call_brings_the_labels_of_its_effects() -> None:
    assert labels_of(Effects("private", "untrusted"), INBOX) == Labels(INBOX, INBOX)
    assert labels_of(Effects("public", "trusted"), INBOX) == CLEAN
    assert labels_of(Effects("none", "untrusted"), WEB) == Labels(None, WEB)
    assert BOTH.names == ("private", "untrusted") and CLEAN.names == ()


@given(LABELS, LABELS, LABELS)
def test_labels_only_grow_and_keep_their_first_source(a: Labels, b: Labels, c: Labels) -> None:
    assert set(a.joined(b).names) == set(a.names) | set(b.names)
    assert a.joined(b).joined(c) == a.joined(b.joined(c))
    assert a.private is None or a.joined(Labels(Source("other", 9))).private == a.private


@given(st.sampled_from(EFFECTS), LABELS, LABELS, st.booleans())
def test_more_labels_are_never_laxer(effects: Effects, some: Labels, more: Labels, attended: bool) -> None:
    strictness = {None: 0, "ask": 1, "deny": 2}
    before, after = (guard(effects, labels, attended=attended) for labels in (some, some.joined(more)))
    assert strictness[after and after[0]] >= strictness[before and before[0]]


def test_the_decision_carries_it() -> None:
    operation = Operation("mail.send", {}, effects=Effects("none", "trusted", "external", True))
    decision = decide(Facts(operation, {}, 0, labels=BOTH), Grant.of("**"))
    assert (decision.verdict, decision.rule) == ("deny", "information flow")
    asked = Facts(operation, {}, 0, run=RunFacts("r", Principal("ada"), attended=True), labels=BOTH)
    assert decide(asked, Grant.of("**")).verdict == "ask"
    assert decide(asked._replace(approved=True), Grant.of("**")).verdict == "allow"
    assert decide(asked._replace(labels=CLEAN), Grant.of("**")).verdict == "allow"
