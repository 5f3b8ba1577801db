"""Information flow: what a run has read, and what it may therefore not do unasked.

A run carries two monotone labels: P, it has read private data, and U, it has read data that a stranger may have
written. Private data, untrusted instructions and a way out, together, are how data is stolen; any two of them are
ordinary work (the "lethal trifecta", S. Willison 2025; labels after Denning 1976). So an external write under P and U
is denied where nobody can be asked and asked otherwise, and an irreversible write under U is asked.

Invariant: labels only grow. Each keeps the call that first brought it, so that a refusal can name its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from inhabit.contracts.effects import Effects

__all__ = ["CLEAN", "Labels", "Source", "guard", "labelled", "labels_of", "path"]


class Source(NamedTuple):
    """The call that brought a label; `sequence` 0 is what the run began with (its conversation, its input)."""

    operation: str
    sequence: int = 0

    def words(self) -> str:
        return f"since call {self.sequence} {self.operation}" if self.sequence else f"from the start ({self.operation})"


class Labels(NamedTuple):
    """`private` is P, `untrusted` is U; None is: not so far."""

    private: Source | None = None
    untrusted: Source | None = None

    def joined(self, other: Labels) -> Labels:
        """Both together. The earlier source of each label stays."""
        return Labels(self.private or other.private, self.untrusted or other.untrusted)

    @property
    def names(self) -> tuple[str, ...]:
        return (("private",) if self.private else ()) + (("untrusted",) if self.untrusted else ())


CLEAN = Labels()


def labels_of(effects: Effects, source: Source) -> Labels:
    """What the result of a call brings. A call that reads nothing still answers in somebody's words."""
    return Labels(source if effects.reads == "private" else None, source if effects.trust == "untrusted" else None)


def labelled(names: Sequence[tuple[str, str]]) -> Labels:
    """Labels as a header keeps them: `(name, where it came from)`."""
    found = dict(names)
    return Labels(*(Source(found[name]) if name in found else None for name in Labels._fields))


def path(labels: Labels) -> str:
    """The way that led here, in words: `private since call 3 inbox.list, untrusted since call 5 web.fetch`."""
    return ", ".join(f"{name} {source.words()}" for name, source in zip(Labels._fields, labels, strict=True) if source)


def guard(effects: Effects, labels: Labels, *, attended: bool, built_url: bool = False, meant: bool = False) -> tuple[Literal["deny", "ask"], str] | None:
    """The verdict of the flow rule on a call under `labels` (those of the run and of its arguments), or None. `built_url`:
    it goes to a place that nobody gave the run as it stands: a URL made by a program can carry what the program has read.
    `meant`: where it goes and what it does is the word of an author who has read no stranger's (`runtime.spelled`).
    """
    if effects.writes == "external" and labels.private and labels.untrusted and not meant:
        reason = f"private data, untrusted input and an outward write meet here: {path(labels)}"
        return "ask" if attended else "deny", reason
    if built_url and labels.private:
        return "ask" if attended else "deny", f"a URL that was neither given nor returned by a call, after private data: {path(labels)}"
    if effects.may_write and effects.irreversible and labels.untrusted and not meant:
        return "ask", f"a write that cannot be undone, after untrusted input: {path(labels)}"
    return None
