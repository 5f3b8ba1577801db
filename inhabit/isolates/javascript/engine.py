"""The TypeScript engine: an image loaded once, guests made from it, sources made ready for it."""

from __future__ import annotations

from pathlib import Path

from inhabit.contracts.program import Boot, Language, Prepared, Problem
from inhabit.isolates.javascript.guest import JavaScriptGuest
from inhabit.isolates.javascript.image import Image, load_or_build

__all__ = ["JavaScriptEngine"]

_FUEL_PER_MS = 30_000_000


class JavaScriptEngine:
    """Implements `inhabit.contracts.program.Engine`. After `load` it reads no file and starts no thread."""

    language: Language = "typescript"

    def __init__(self, image: Image) -> None:
        self._image = image
        self.version = f"quickjs-ng {image.quickjs} image {image.hash}"

    @classmethod
    def build(cls, cache: Path) -> None:
        """Make and keep the compiled image, if it is not there: a second of work, once a machine and version."""
        load_or_build(cache)

    @classmethod
    def load(cls, cache: Path) -> JavaScriptEngine:
        """The engine from the cached image (a few milliseconds; builds it if missing). Raises `Unavailable`."""
        engine = cls(load_or_build(cache))
        warm = engine.create(Boot(code="(async () => null)", names=()))
        warm.start()
        warm.close()
        return engine

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        return Prepared(code=f"(async () => {{{source}\n}})")

    def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        """QuickJS knows no types: always empty. The catalog's check compares call sites with the schemas."""
        return ()

    def create(self, boot: Boot) -> JavaScriptGuest:
        return JavaScriptGuest(self._image, boot, fuel_per_ms=_FUEL_PER_MS)
