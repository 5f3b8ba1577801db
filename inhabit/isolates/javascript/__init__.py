"""JavaScript and TypeScript: QuickJS-ng as WebAssembly without imports, one instance a run."""

from inhabit.isolates.javascript.engine import JavaScriptEngine

__all__ = ["JavaScriptEngine"]
