"""What Monty lacks, said so that the next attempt works: what is missing, what to write instead.

Two tables: one for what can be seen in the source before the run, one for messages that only a run shows.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

from inhabit.contracts.program import Problem
from inhabit.isolates.python.modules import PROVIDED
from inhabit.isolates.python.source import Source, Tree

__all__ = ["MODULES", "explain", "unsupported"]

MODULES = frozenset({
    "asyncio", "base64", "binascii", "bisect", "collections", "copy", "csv", "dataclasses", "datetime", "decimal",
    "functools", "hashlib", "itertools", "json", "math", "os", "pathlib", "posixpath", "random", "re", "sys", "time",
    "tomllib", "typing", "unicodedata", "__future__",
}) | PROVIDED
"""What `import` finds."""

_NO_NETWORK = "a program has no network of its own; call an operation you were given"
_INSTEAD = {
    "requests": _NO_NETWORK, "httpx": _NO_NETWORK, "aiohttp": _NO_NETWORK, "urllib3": _NO_NETWORK,
    "http": _NO_NETWORK, "socket": _NO_NETWORK, "subprocess": "a program cannot start processes",
    "threading": "use asyncio.gather for calls at the same time", "concurrent": "use asyncio.gather for calls at the same time",
    "multiprocessing": "use asyncio.gather for calls at the same time",
    "numpy": "use lists, sum, min, max and math", "pandas": "use lists of dicts, sorted, and collections.defaultdict to group",
    "pydantic": "values are plain dicts; read r['field']", "enum": "use a dict or plain constants",
    "logging": "use print", "pprint": "use print(json.dumps(value, indent=2))",
    "operator": "use a lambda", "heapq": "use sorted(...)[:n]", "contextlib": "use try/except/finally",
    "abc": "write a plain class", "io": "use lists of strings and '\\n'.join",
    "zoneinfo": "use datetime.timezone(datetime.timedelta(hours=h))", "traceback": "use str(error)",
    "fractions": "use decimal.Decimal", "calendar": "use datetime.date and timedelta", "inspect": "values are plain data",
    "sqlite3": "call an operation you were given", "inhabit": "nothing needs importing; OperationError is already there",
}
_ASYNCIO = {
    "wait_for": "calls have their own time limit; just await it",
    "timeout": "calls have their own time limit; just await it",
    "wait": "use await asyncio.gather(...)", "as_completed": "use await asyncio.gather(...)",
    "TaskGroup": "use await asyncio.gather(...)", "to_thread": "await operations directly",
    "create_task": "use await asyncio.gather(...) over the calls", "ensure_future": "use await asyncio.gather(...) over the calls",
    "Semaphore": "calls at once are bounded for you; use await asyncio.gather(...)",
    "BoundedSemaphore": "calls at once are bounded for you; use await asyncio.gather(...)",
    "Queue": "use lists and await asyncio.gather(...)", "Lock": "only one task runs at a time; leave it out",
    "Event": "use await asyncio.gather(...)", "get_event_loop": "await at the top level is allowed",
    "get_running_loop": "await at the top level is allowed", "new_event_loop": "await at the top level is allowed",
}
_HAS_ASYNCIO = frozenset({"gather", "run", "sleep"})
_BASES = {
    "TypedDict": "values are plain dicts and need no class", "BaseModel": "values are plain dicts and need no class",
    "NamedTuple": "use @dataclass or collections.namedtuple", "Enum": "use a dict or plain constants",
    "StrEnum": "use a dict or plain constants", "IntEnum": "use a dict or plain constants", "ABC": "write a plain class",
    "Protocol": "write a plain class",
}

Finding = tuple[ast.AST, str]


def unsupported(source: Source, tree: Tree) -> tuple[Problem, ...]:
    """Everything in the source that cannot run, in order of place."""
    found = [(node, text) for node in tree.nodes for text in _of(node, tree)]
    problems = [Problem(text, *source.place(node), code="unsupported") for node, text in found]
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))


def _of(node: ast.AST, tree: Tree) -> Iterator[str]:
    check = _CHECKS.get(type(node))
    if check is not None:
        yield from check(node, tree)


def _yields(node: ast.AST, tree: Tree) -> Iterator[str]:
    yield "generators (yield) are not available: collect the values in a list and return it"


def _except_star(node: ast.AST, tree: Tree) -> Iterator[str]:
    yield "except* is not available: use except"


def _async_with(node: ast.AST, tree: Tree) -> Iterator[str]:
    yield ("async with is not available: use await asyncio.gather(...) in place of a TaskGroup, and no Semaphore, "
           "Lock or timeout (calls are bounded for you)")


def _async_for(node: ast.AST, tree: Tree) -> Iterator[str]:
    if isinstance(node, ast.AsyncFor) or (isinstance(node, ast.comprehension) and node.is_async):
        yield "async for is not available: await the list, then loop over it with for"


def _delete(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.Delete)
    if node not in tree.rewritten:
        yield "this form of del is not available: use d.pop(key), xs.pop(i), or build a new list or dict"


def _class(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.ClassDef)
    if node in tree.rewritten:
        return
    if node.bases or node.keywords:
        base = _last_name(node.bases[0]) if node.bases else ""
        if base.endswith(("Error", "Exception")):
            yield "exception classes of your own are not available: raise ValueError('...') or RuntimeError('...')"
        else:
            yield f"class inheritance is not available: {_BASES.get(base, 'write a plain class, a @dataclass, or functions over dicts')}"
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [_last_name(decorator) for decorator in item.decorator_list]
            if any(name in {"property", "staticmethod", "classmethod", "cached_property", "setter"} for name in names):
                yield f"@{names[0]} is not available: write a plain method (with self) or a function"


def _import(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.Import)
    if node in tree.rewritten or tree.is_guarded_import(node):
        return
    for alias in node.names:
        yield from _module(alias.name, tree)


def _import_from(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.ImportFrom)
    if node in tree.rewritten or tree.is_guarded_import(node):
        return
    yield from _module(node.module or ".", tree)
    if node.module == "asyncio":
        for alias in node.names:
            if alias.name not in _HAS_ASYNCIO:
                yield f"asyncio.{alias.name} is not available: {_ASYNCIO.get(alias.name, 'use gather, sleep or run')}"


def _module(name: str, tree: Tree) -> Iterator[str]:
    root = name.partition(".")[0]
    if root in tree.names:
        yield f"{root} is not a module: leave the import out and write await {root}.…(name=value)"
    elif name.startswith("urllib.") and name != "urllib.parse":
        yield f"module {name} is not available: {_NO_NETWORK}"
    elif root not in MODULES:
        yield f"module {root} is not available: {_INSTEAD.get(root, 'available are ' + ', '.join(sorted(MODULES - {'__future__'})))}"


def _attribute(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.Attribute)
    owner = node.value
    if (isinstance(owner, ast.Name) and owner.id == "asyncio" and node.attr not in _HAS_ASYNCIO
            and node not in tree.rewritten and not isinstance(node.ctx, ast.Store)):
        yield f"asyncio.{node.attr} is not available: {_ASYNCIO.get(node.attr, 'use gather, sleep or run')}"


def _call(node: ast.AST, tree: Tree) -> Iterator[str]:
    assert isinstance(node, ast.Call)
    if isinstance(node.func, ast.Name) and node.func.id == "input" and "input" not in tree.bound:
        yield "input is the run's input value, not a function: write input, or input['key']"
    if isinstance(node.func, ast.Name) and node.func.id == "open" and "open" not in tree.bound:
        yield "open is not available: a program has no files; call an operation that reads or writes them, or use input"
    if _last_name(node.func) == "gather" and node.keywords and node not in tree.rewritten:
        yield "gather takes no keyword arguments here: catch errors inside the functions that you gather"


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Subscript):
        node = node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


_CHECKS: dict[type[ast.AST], Callable[[ast.AST, Tree], Iterator[str]]] = {
    ast.Yield: _yields, ast.YieldFrom: _yields, ast.TryStar: _except_star, ast.AsyncWith: _async_with,
    ast.AsyncFor: _async_for, ast.comprehension: _async_for, ast.Delete: _delete, ast.ClassDef: _class,
    ast.Import: _import, ast.ImportFrom: _import_from, ast.Attribute: _attribute, ast.Call: _call,
}

_PARSER = re.compile(r"The monty syntax parser does not yet support (.*)")
_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"'coroutine' object|coroutine .* was never awaited|object can't be awaited"),
     "write `await` before the call, once"),
    (re.compile(r"cannot suspend in this synchronous context"),
     "await it in a loop or a list comprehension, not inside map, filter or a sort key"),
    (re.compile(r"callable replacement is not yet supported"), "loop over re.finditer and join the parts"),
    (re.compile(r"type object 'datetime\.datetime' has no attribute 'utcnow'"), "use datetime.now(timezone.utc)"),
    (re.compile(r"module 'dataclasses' has no attribute 'asdict'"), "build the dict yourself; results become JSON anyway"),
    (re.compile(r"module 'functools' has no attribute 'wraps'"), "leave the decorator out"),
    (re.compile(r"module 'asyncio' has no attribute"), "available are gather, sleep and run"),
    (re.compile(r"object of type '\w+' has no len\(\)|'\w+' object is not subscriptable"), ""),
    (re.compile(r"cannot import name '\w+' from 'typing'"), "leave the annotation out; values are plain dicts and lists"),
    (re.compile(r"cannot import name 'OrderedDict'"), "a dict keeps its order"),
    (re.compile(r"Permission denied: '"), "there are no files here; return values, or call an operation"),
)


def explain(name: str, message: str) -> str:
    """A line of advice for an error that Monty's limits caused, else ''."""
    lacking = _PARSER.match(message)
    if lacking:
        return f"{lacking[1]} cannot be used here; write it with plain functions, loops and dicts"
    return next((hint for pattern, hint in _HINTS if pattern.search(message)), "")
