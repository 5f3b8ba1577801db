"""What a program prints, as log lines, bounded: after the limit one line says so and the rest is dropped."""

from __future__ import annotations

from typing import Literal

from inhabit.contracts.program import LogLine

__all__ = ["Output"]

_LONGEST_LINE = 16 * 1024
_PER_LINE = 16
"""Counted for each line besides its text: empty lines are not free."""


class Output:
    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self._limit = max_bytes
        self._lines: list[LogLine] = []
        self._partial: dict[str, str] = {"stdout": "", "stderr": ""}

    def write(self, stream: Literal["stdout", "stderr"], text: str) -> None:
        """Monty's print callback."""
        if self._left <= 0:
            return
        self._flush("stderr" if stream == "stdout" else "stdout")   # what was begun there came first
        text = self._partial[stream] + text[:self._left]
        *whole, rest = text.split("\n")
        for line in whole:
            self._line(stream, line)
        while len(rest) > _LONGEST_LINE:
            self._line(stream, rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._partial[stream] = rest

    def take(self) -> tuple[LogLine, ...]:
        """Everything since the last time, an unfinished line included."""
        self._flush("stdout")
        self._flush("stderr")
        lines, self._lines = tuple(self._lines), []
        return lines

    def _flush(self, stream: str) -> None:
        rest, self._partial[stream] = self._partial[stream], ""
        if rest:
            self._line(stream, rest)

    def _line(self, stream: str, text: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(text.encode(errors="replace")) + _PER_LINE
        if self._left > 0:
            self._lines.append(LogLine("log" if stream == "stdout" else "error", text))
            return
        self._lines.append(LogLine("warn", f"output beyond log_bytes = {self._limit} bytes was dropped"))
