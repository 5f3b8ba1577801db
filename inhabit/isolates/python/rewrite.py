"""Small edits that let ordinary programs run on Monty as they were written. Lines never move.

- `shop.orders.list(` becomes `shop·orders·list(`: one name, one question to the host in place of three, same width.
- Outside of functions `await shop.orders.list(` becomes `shop·orders·list·     (`: the program waits in the call itself.
- `OperationError` becomes `RuntimeError`, padded to the same width: Monty has no exception classes of ours.
- `e.code` of a caught exception becomes a question to the host, who knows the error behind it.
- `del d[k]` becomes `d.pop(k)`, `del xs[a:b]` becomes `xs[a:b] = []`; `asyncio.create_task(x)` becomes `(x)`, which is awaited where the task was;
  `gather(..., return_exceptions=True)` becomes a helper of the prelude; `import shop` becomes `pass`.
- An operation called without `await` where only its result makes sense gets the `await`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from inhabit.isolates.python.annotations import type_edits
from inhabit.isolates.python.calls import aliases_of, dotted, resolved
from inhabit.isolates.python.plan import COMMON, DOT, ERROR_FIELD, SETTLED, Plan
from inhabit.isolates.python.source import Source, Tree

__all__ = ["rewrite", "to_check"]

_ERROR_FIELDS = frozenset({"code", "message", "operation", "details", "retryable", "effect", "fix"})
_CONSUMERS = frozenset({"len", "sorted", "list", "sum", "min", "max", "print", "str", "enumerate", "set", "dict", "tuple"})

Edit = tuple[int, int, str]


def rewrite(source: Source, tree: Tree) -> tuple[str, Plan]:
    """The text that runs, and what the guest must know of it. Notes rewritten nodes in `tree.rewritten`."""
    work = _Rewriter(source, tree, to_run=True)
    edited = _apply(source, work.edits())
    prelude = work.needs_prelude or any(
        isinstance(node, ast.Name) and node.id in COMMON and not tree.is_bound(node.id) for node in tree.nodes)
    return edited, Plan(tuple(sorted(work.operations)), prelude)


def to_check(source: Source, tree: Tree) -> str:
    """The text whose types are checked: only what the checker could not know is changed (the awaits that will be
    put in, a positional dict in place of keyword arguments)."""
    return _apply(source, _Rewriter(source, tree, to_run=False).edits())


def _apply(source: Source, edits: Iterable[Edit]) -> str:
    parts: list[bytes] = []
    at = 0
    for start, end, text in sorted(set(edits), key=lambda edit: edit[:2]):
        if start < at:
            continue   # inside an edit already made
        parts += (source.data[at:start], text.encode())
        at = end
    return b"".join([*parts, source.data[at:]]).decode("utf-8", "surrogatepass")


class _Rewriter:
    def __init__(self, source: Source, tree: Tree, *, to_run: bool) -> None:
        self._source = source
        self._tree = tree
        self._to_run = to_run
        self._aliases: dict[str, str] = {}
        self.operations: set[str] = set()
        self.needs_prelude = False
        self._by_type: dict[type[ast.AST], Callable[[ast.AST], Iterator[Edit]]] = {
            ast.Call: self._call,
        }
        if to_run:
            self._by_type |= {ast.Name: self._name, ast.Delete: self._delete, ast.ExceptHandler: self._handler}

    def edits(self) -> Iterator[Edit]:
        yield from self._imports()
        if self._to_run:
            yield from type_edits(self._source, self._tree)
        self._aliases = aliases_of(self._tree)
        for node in self._tree.nodes:
            found = self._by_type.get(type(node))
            if found is not None:
                yield from found(node)

    # -- calls ----------------------------------------------------------------------------------------------

    def _call(self, node: ast.AST) -> Iterator[Edit]:
        assert isinstance(node, ast.Call)
        path = dotted(node.func)
        if path is None:
            return
        if not self._to_run and len(node.args) == 1 and not node.keywords and resolved(node.func, self._tree, self._aliases):
            yield self._replaced(node.args[0], "**anything·")
        if "." in path and self._is_free(path.partition(".")[0]):
            yield from self._operation(node)
        elif path == "asyncio.create_task" or path == "asyncio.ensure_future":
            yield from self._task(node)
        elif path in {"functools.partial", "partial"} and node.args:
            yield from self._function_value(node.args[0])
        elif path in {"asyncio.gather", "gather"} and node.keywords:
            yield from self._gather(node)

    def _function_value(self, node: ast.AST) -> Iterator[Edit]:
        """An operation written in full becomes a function."""
        path = dotted(node)
        if path is None or "." not in path or not self._is_free(path.partition(".")[0]) or self._source.slice(node) != path:
            return
        if not self._to_run:
            return
        start, end = self._source.span(node)
        self.operations.add(path)
        yield (start, end, path.replace(".", DOT))

    def _is_free(self, root: str) -> bool:
        return root in self._tree.names and not self._tree.is_bound(root)

    def _operation(self, node: ast.Call) -> Iterator[Edit]:
        parent = self._tree.parents.get(node)
        awaited = parent if isinstance(parent, ast.Await) else None
        if self._to_run and (awaited or self._wants_result(node)) and not self._functions(node):
            held = list(self._held(node, awaited))
            if held:
                yield from held
                return
        yield from self._function_value(node.func)
        if self._wants_result(node):
            yield from self._await(node)

    def _held(self, node: ast.Call, awaited: ast.Await | None) -> Iterator[Edit]:
        """Outside of functions no other task can run while a call is awaited, so the program itself is held there: one
        question to the host in place of two. Nothing when it is not written plainly."""
        start, end = self._source.span(node.func)
        path = self._source.slice(node.func)
        before = self._source.span(awaited)[0] if awaited else start
        spaces = self._source.data[before:start]
        if not self._is_plain(node.func) or spaces.strip(b" ") not in {b"", b"await"}:
            return
        self.operations.add(f"{path}.")
        yield (before, end, f"{path}.".replace(".", DOT) + " " * (len(spaces) - 1))

    def _await(self, node: ast.Call) -> Iterator[Edit]:
        start, end = self._source.span(node)
        if not self._source.slice(node).endswith(")") or not self._is_plain(node.func):
            return   # inside an f-string the places that Python 3.11 gives may be off
        yield (start, start, "(await ")
        yield (end, end, ")")

    def _wants_result(self, node: ast.Call) -> bool:
        """Not awaited, in a place where only the result makes sense, and where `await` may stand."""
        parent = self._tree.parents.get(node)
        match parent:
            case ast.Expr():
                wanted = True
            case ast.Subscript(value=value) | ast.Attribute(value=value):
                wanted = value is node
            case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
                wanted = iterated is node
            case ast.BinOp() | ast.Compare() | ast.FormattedValue():
                wanted = True
            case ast.Call(func=ast.Name(id=name)):
                wanted = name in _CONSUMERS and not self._tree.is_bound(name)
            case ast.Return():
                wanted = not self._functions(node)
            case _:
                wanted = False
        return wanted and self._may_await(node)

    def _may_await(self, node: ast.AST) -> bool:
        functions = self._functions(node)
        return not functions or isinstance(functions[0], ast.AsyncFunctionDef)

    def _functions(self, node: ast.AST) -> list[ast.AST]:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.GeneratorExp)
        return [parent for parent in self._tree.ancestors(node) if isinstance(parent, kinds)]

    def _task(self, node: ast.Call) -> Iterator[Edit]:
        kept = isinstance(self._tree.parents.get(node), ast.Assign | ast.List | ast.Tuple | ast.ListComp | ast.Call
                          | ast.Dict | ast.DictComp | ast.Return | ast.Await | ast.Starred)
        if len(node.args) == 1 and not node.keywords and kept and self._is_plain(node.func):
            self._tree.rewritten.add(node.func)
            start, end = self._source.span(node.func)
            yield (start, end, "")

    def _gather(self, node: ast.Call) -> Iterator[Edit]:
        only = node.keywords[0]
        if len(node.keywords) > 1 or only.arg != "return_exceptions" or not isinstance(only.value, ast.Constant) or not node.args:
            return
        if not self._is_plain(node.func):
            return
        last = max(node.args, key=lambda argument: self._source.span(argument))
        cut = self._source.span(last)[1]
        end = self._source.span(only.value)[1]
        if cut > end or b")" in self._source.data[cut:self._source.span(only)[0]]:
            return
        self._tree.rewritten.add(node)
        if only.value.value and self._to_run:
            self.needs_prelude = True
            start, stop = self._source.span(node.func)
            yield (start, stop, SETTLED)
        lost = self._source.data[cut:end].count(b"\n")
        yield (cut, end, "\n" * lost)

    def _is_plain(self, node: ast.AST) -> bool:
        """Written without spaces, parentheses or line ends inside."""
        return self._source.slice(node) == dotted(node)

    def _replaced(self, node: ast.AST, text: str) -> Edit:
        """All of a node by `text`, its lines kept."""
        start, end = self._source.span(node)
        return (start, end, text + "\n" * self._source.data[start:end].count(b"\n"))

    # -- the rest -------------------------------------------------------------------------------------------

    def _name(self, node: ast.AST) -> Iterator[Edit]:
        assert isinstance(node, ast.Name)
        if node.id == "OperationError" and not self._tree.is_bound("OperationError"):
            start, end = self._source.span(node)
            yield (start, end, "RuntimeError  ")

    def _delete(self, node: ast.AST) -> Iterator[Edit]:
        assert isinstance(node, ast.Delete)
        target = node.targets[0]
        if len(node.targets) > 1 or not isinstance(target, ast.Subscript):
            return
        start, end = self._source.span(target)
        if isinstance(target.slice, ast.Slice):
            yield from self._delete_slice(node, start, end)
            return
        value_end = self._source.span(target.value)[1]
        inner_start, inner_end = self._source.span(target.slice)
        data = self._source.data
        whole = data[self._source.span(node)[0]:start]
        if whole.strip(b" \t") != b"del" or data[value_end:inner_start].strip() != b"[" or data[inner_end:end].strip() != b"]":
            return
        self._tree.rewritten.add(node)
        yield (self._source.span(node)[0], start, "")
        yield (value_end, inner_start, ".pop(" + "\n" * data[value_end:inner_start].count(b"\n"))
        yield (inner_end, end, "\n" * data[inner_end:end].count(b"\n") + ")")

    def _delete_slice(self, node: ast.Delete, start: int, end: int) -> Iterator[Edit]:
        began = self._source.span(node)[0]
        if self._source.data[began:start].strip(b" \t") == b"del":
            self._tree.rewritten.add(node)
            yield (began, start, "")
            yield (end, end, " = []")

    def _imports(self) -> Iterator[Edit]:
        """`import shop` binds the name to what it is anyway, so it is as if it were not there."""
        imports = [node for node in self._tree.nodes if isinstance(node, ast.Import)]
        times = Counter(alias.name for node in imports for alias in node.names if alias.asname is None)
        ours = {name for name, count in times.items() if name in self._tree.names and self._tree.bound.get(name) == count}
        for node in imports:
            if all(alias.asname is None and alias.name in ours for alias in node.names):
                self._tree.rewritten.add(node)
                start, end = self._source.span(node)
                yield (start, end, "pass")
                for alias in node.names:
                    self._tree.bound.pop(alias.name, None)

    def _handler(self, node: ast.AST) -> Iterator[Edit]:
        assert isinstance(node, ast.ExceptHandler)
        if node.name is None:
            return
        pending: list[ast.AST] = list(node.body)
        while pending:
            found = pending.pop()
            pending.extend(ast.iter_child_nodes(found))
            if (isinstance(found, ast.Attribute) and isinstance(found.ctx, ast.Load) and found.attr in _ERROR_FIELDS
                    and isinstance(found.value, ast.Name) and found.value.id == node.name):
                start, end = self._source.span(found)
                if self._source.slice(found) == f"{node.name}.{found.attr}":
                    yield (start, end, f'{ERROR_FIELD}({node.name}, "{found.attr}")')
