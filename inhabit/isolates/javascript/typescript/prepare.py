"""The way of a source: fence off, parse, strip, shape into a function, compile once to be sure.

Nothing here runs the program. Every step is bounded: the source's size, the tree's, and the compilers by a deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tree_sitter import Node

from inhabit.contracts.program import CallSite, Prepared, Problem
from inhabit.isolates.javascript.typescript.callsites import CallSites
from inhabit.isolates.javascript.typescript.forms import PREFIX, Form, unfenced
from inhabit.isolates.javascript.typescript.oxc import Oxc, OxcError
from inhabit.isolates.javascript.typescript.strip import PRUNED, Stripper
from inhabit.isolates.javascript.typescript.tree import Source, SourceParser, apply_edits
from inhabit.limits import CEILINGS

__all__ = ["Preparer"]

_MAX_PROBLEMS = 20
_RETURN_OUTSIDE = "'return' statement"
_ABOUT_TOKENS = ("unexpected", "expecting", "invalid")  # other complaints may be about what stripping left
_WRAPPED = b"async function $program() {"


@dataclass(slots=True)
class Preparer:
    """`check` compiles finished code without running it: None, or the problem with its position in the source."""

    parser: SourceParser
    oxc: Oxc
    check: Callable[[bytes], Problem | None]

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        data = unfenced(source.encode("utf-8", "replace"))
        if len(data) > CEILINGS.source_bytes:
            return _refused(Problem(f"the program has {len(data)} bytes; the most is {CEILINGS.source_bytes}", 1, 1, "size"))
        try:
            return self._prepared(data, names)
        except OverflowError as error:
            return _refused(Problem(str(error), 1, 1, "size"))

    def _prepared(self, data: bytes, names: tuple[str, ...]) -> Prepared:
        parsed = self.parser.parse(data)
        if parsed.root.has_error:
            return self._recovered(parsed, names)
        body, calls, problems = self._stripped(parsed, names)
        return self._checked(PREFIX + body, calls, problems)

    def _stripped(self, source: Source, names: tuple[str, ...]) -> tuple[bytes, tuple[CallSite, ...], list[Problem]]:
        stripper, form, sites = Stripper(source, self.oxc.transform), Form(source), CallSites(source, names)
        for item in source.walk(PRUNED):
            stripper.visit(item)
            form.visit(item)
            sites.visit(item)
        form.finish()
        calls = sites.finish()
        body = apply_edits(source.data, stripper.edits + form.edits) + b"\n" + form.ending + b"})"
        return body, calls, [*form.problems, *stripper.problems, *sites.problems]

    def _checked(self, code: bytes, calls: tuple[CallSite, ...], problems: list[Problem]) -> Prepared:
        if not problems:
            found = self.check(code)
            if found is not None:
                problems = [found]
        return Prepared("" if problems else code.decode("utf-8", "replace"), calls, tuple(problems[:_MAX_PROBLEMS]))

    def _recovered(self, source: Source, names: tuple[str, ...]) -> Prepared:
        """For what the grammar does not read: the compiler decides whether it is a program. Lines are lost then."""
        try:
            compiled = self.oxc.transform(source.data)
        except OxcError as error:
            if _RETURN_OUTSIDE not in str(error):
                return _refused(self._syntax_problem(source, str(error)))
            return self._recovered_with_return(source)
        again = self.parser.parse(compiled)
        if again.root.has_error:
            return _refused(self._syntax_problem(source, ""))
        body, calls, problems = self._stripped(again, names)
        return self._checked(PREFIX + body, tuple(replace(c, line=0, column=0) for c in calls), problems)

    def _recovered_with_return(self, source: Source) -> Prepared:
        try:
            compiled = self.oxc.transform(_WRAPPED + source.data + b"\n}")
        except OxcError as error:
            return _refused(self._syntax_problem(source, str(error)))
        return self._checked(b"(" + compiled.strip() + b")", (), [])

    def _syntax_problem(self, source: Source, reason: str) -> Problem:
        """Where the reading stumbled, in the words that say the most: what was expected, if anyone knows."""
        end = source.position(len(source.data.rstrip()))
        if "EOF" in reason:
            return Problem(f"{reason.rstrip('.')} at the end of the program", *end)
        stripped, _calls, _problems = self._stripped(source, ())
        found = self.check(PREFIX + stripped)
        if found is not None and found.message.startswith(_ABOUT_TOKENS):
            if (found.line, found.column) > end:
                return Problem("the program ends in the middle of an expression", *end)
            return replace(found, message=reason.rstrip(".") if "xpected `" in reason else found.message)
        node = _first_error(source.root)
        at = node.start_byte if node is not None else 0
        words = source.data[at:at + 30].decode("utf-8", "replace").split("\n")[0].strip()
        message = (reason or "this is not TypeScript").rstrip(".")
        return Problem(f"{message} at `{words}`" if words else message, *source.position(at))


def _refused(problem: Problem) -> Prepared:
    return Prepared("", (), (problem,))


def _first_error(root: Node) -> Node | None:
    """The first ERROR or missing node in source order, without descending into sound parts."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.is_missing:
            return node
        if node.is_error:
            return next((c for c in node.children if c.has_error), None) or _last_of(node)
        pending += [child for child in reversed(node.children) if child.has_error]
    return None


def _last_of(node: Node) -> Node:
    """Where reading broke off inside an ERROR: its last token."""
    while node.children:
        node = node.children[-1]
    return node

