"""Names that a program uses like namespaces and that nobody declares: a misspelt `biling.invoices.list({})`.

Sure, or silent: a name counts only when every place where it stands is the root of a chain of members. Anything else
(a declaration in any form, a parameter, a pattern, an assignment, `typeof name`, a name passed on) takes it out, and a
program that can make globals by other means is not looked at.
"""

from __future__ import annotations

from inhabit.isolates.javascript.typescript.tree import Item, Source

__all__ = ["GLOBALS", "SEEN", "Undeclared"]

GLOBALS = frozenset({
    "Object", "Function", "Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError",
    "TypeError", "URIError", "InternalError", "AggregateError", "SuppressedError", "Iterator", "Array",
    "parseInt", "parseFloat", "isNaN", "isFinite", "queueMicrotask", "decodeURI", "decodeURIComponent",
    "encodeURI", "encodeURIComponent", "escape", "unescape", "Infinity", "NaN", "undefined", "eval",
    "Number", "Boolean", "String", "Math", "Reflect", "Symbol", "DisposableStack", "globalThis", "BigInt",
    "Date", "RegExp", "JSON", "Proxy", "Map", "Set", "WeakMap", "WeakSet", "ArrayBuffer",
    "SharedArrayBuffer", "Uint8ClampedArray", "Int8Array", "Uint8Array", "Int16Array", "Uint16Array",
    "Int32Array", "Uint32Array", "BigInt64Array", "BigUint64Array", "Float16Array", "Float32Array",
    "Float64Array", "DataView", "Promise", "AsyncDisposableStack", "WeakRef", "FinalizationRegistry",
    "DOMException", "btoa", "atob", "performance", "crypto", "console", "TextEncoder", "TextDecoder",
    "structuredClone", "Event", "CustomEvent", "EventTarget", "AbortSignal", "AbortController", "URL",
    "URLSearchParams", "Intl", "setTimeout", "setInterval", "setImmediate", "clearTimeout",
    "clearInterval", "clearImmediate", "input", "arguments",
})
"""What a guest is born with."""
_ELSEWHERE = frozenset({
    "Atomics", "Blob", "Buffer", "Bun", "Deno", "File", "FormData", "Headers", "Request", "Response",
    "Temporal", "WebAssembly", "WebSocket", "XMLHttpRequest", "caches", "document", "exports", "fetch",
    "fs", "global", "history", "http", "https", "indexedDB", "localStorage", "location", "module",
    "navigator", "os", "path", "process", "require", "self", "sessionStorage", "util", "window",
})
"""Globals of browsers and Node, which a program may try inside `try`: the guest says what stands in for them."""
_MAKERS = frozenset({"eval", "globalThis", "Function"})
_NAMING = frozenset({"identifier", "type_identifier", "shorthand_property_identifier_pattern", "shorthand_property_identifier"})
_COMPILED = frozenset({"enum_declaration", "internal_module", "module"})   # the walk does not go into them
_MAKING = frozenset({"this", "with_statement"})   # `this.name = …` may make a global
_CHAINS = frozenset({"member_expression", "subscript_expression"})
SEEN = _NAMING | _COMPILED | _MAKING
"""The kinds of nodes that `Undeclared` must see."""


class Undeclared:
    """Sees every node of the kinds in `SEEN` once; `holds` answers after the walk."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._otherwise: set[str] = set()
        self._unsure = source.root.has_error

    def visit(self, item: Item) -> None:
        if item.kind in _NAMING:
            if not _is_root(item):
                self._otherwise.add(self._source.text(item.node))
            elif item.node.end_byte - item.node.start_byte <= 10 and self._source.text(item.node) in _MAKERS:
                self._unsure = True
        elif item.kind in _COMPILED:
            name = item.node.child_by_field_name("name")
            if name is not None:
                self._otherwise.add(self._source.text(name).partition(".")[0].strip())
        else:
            self._unsure = True

    def holds(self, name: str) -> bool:
        """Whether `name` is surely nobody's."""
        known = name in GLOBALS or name in _ELSEWHERE or name in self._otherwise
        return not (known or self._unsure or self._otherwise & _MAKERS)


def _is_root(item: Item) -> bool:
    parent = item.parent
    return parent is not None and parent.kind in _CHAINS and parent.node.start_byte == item.node.start_byte
