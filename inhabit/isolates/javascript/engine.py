"""The TypeScript engine: images loaded once, guests made from them, sources made ready for them."""

from __future__ import annotations

from pathlib import Path

import orjson

from inhabit.contracts.program import Boot, Language, Prepared, Problem
from inhabit.isolates.javascript.abi import Trapped, Why
from inhabit.isolates.javascript.cache import ImageCache
from inhabit.isolates.javascript.guest import JavaScriptGuest, compile_answer
from inhabit.isolates.javascript.image import Image, load_or_build
from inhabit.isolates.javascript.stop import Stopper
from inhabit.isolates.javascript.typescript.oxc import Oxc
from inhabit.isolates.javascript.typescript.prepare import Preparer
from inhabit.isolates.javascript.typescript.tree import SourceParser

__all__ = ["JavaScriptEngine"]

_COMPILE_MEMORY = 256 * 1024 * 1024
_COMPILE_CPU_MS = 2_000  # a program within the size limit needs a hundredth
_WARM_UP = "interface A { b: number }\nenum C { D }\nconst e: A = { b: C.D };\nreturn e.b;"


class JavaScriptEngine:
    """Implements `inhabit.contracts.program.Engine`. After `load` it reads no file, and starts no thread but in `keep_time`."""

    language: Language = "typescript"

    def __init__(self, image: Image, oxc: Oxc) -> None:
        self._image = image
        self._preparer = Preparer(SourceParser(), oxc, self._compiles)
        self.version = f"quickjs-ng {image.quickjs} image {image.hash}"

    @classmethod
    def build(cls, cache: Path) -> None:
        """Make and keep the compiled images, if they are not there: some seconds, once a machine and version."""
        cls.load(cache)

    @classmethod
    def load(cls, cache: Path) -> JavaScriptEngine:
        """The engine from the cached images (milliseconds; builds them if missing). Raises `Unavailable`.

        One program is prepared and run, so that whatever is made on first use is made before a fork and before
        files are out of reach.
        """
        images = ImageCache(cache)
        stopper = Stopper()
        engine = cls(load_or_build(images, stopper), Oxc.load(images, stopper))
        warm = engine.create(Boot(code=engine.prepare(_WARM_UP, ()).code, names=()))
        warm.start()
        warm.close()
        return engine

    def keep_time(self) -> None:
        """From here on the calling thread's guests are stopped at their limits. Before a fork there may be no thread."""
        self._image.stopper.start()

    def prepare(self, source: str, names: tuple[str, ...]) -> Prepared:
        """Strip types, find call sites, shape the program into a function. Problems are values."""
        return self._preparer.prepare(source, names)

    def typecheck(self, code: str, stubs: str) -> tuple[Problem, ...]:
        """QuickJS knows no types: always empty. The catalog's check compares call sites with the schemas."""
        return ()

    def create(self, boot: Boot) -> JavaScriptGuest:
        """A guest, not started. Raises `LimitExceeded` when `memory_bytes` is less than the interpreter itself needs."""
        return JavaScriptGuest(self._image, boot)

    def _compiles(self, code: bytes) -> Problem | None:
        machine = self._image.machine(memory_bytes=_COMPILE_MEMORY)
        self._image.stopper.allow(_COMPILE_CPU_MS)
        try:
            failure = compile_answer(machine, self._image.layout, code)
        except Trapped as trapped:
            why = "takes too long to compile" if trapped.why is Why.TIME else "is too large or too deeply nested to compile"
            return Problem(f"the program {why}", 1, 1, "size")
        finally:
            machine.close()
        if failure is None:
            return None
        error = orjson.loads(failure)
        if error["name"] != "SyntaxError":
            return Problem(f"the program is too deeply nested to compile ({error['message']})", 1, 1, "size")
        return Problem(error["message"], error.get("line", 1), error.get("column", 1))
