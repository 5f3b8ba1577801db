"""From the source as given to code that Monty runs, with the calls it plainly makes and what stands against it."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from inhabit.contracts.program import Prepared, Problem
from inhabit.isolates.python.advice import unsupported
from inhabit.isolates.python.calls import call_sites
from inhabit.isolates.python.plan import Plan
from inhabit.isolates.python.rewrite import rewrite, to_check
from inhabit.isolates.python.source import Source, Tree, Unparsed, parse, unfence

__all__ = ["checkable", "prepare"]

_OPERATION_ERROR = re.compile(r"\bOperationError\b")
_MAX_PROBLEMS = 20


def prepare(given: str, names: Sequence[str]) -> tuple[Prepared, Unparsed | None]:
    """The prepared program; with the failure when this Python's grammar refused what a newer one may allow.

    In that case the code is only lightly edited, and no call sites are known: namespaces answer as it runs.
    """
    text = unfence(given)
    roots = frozenset(names)
    try:
        source, tree = parse(text, roots)
    except Unparsed as error:
        if not error.newer:
            return Prepared("", problems=(error.problem,)), None
        return Prepared(Plan().write(_OPERATION_ERROR.sub("RuntimeError  ", text)), problems=(error.problem,)), error
    if not tree.module.body:
        return Prepared("", problems=(Problem("the program is empty", 1, 1, "empty"),)), None
    edited, plan = rewrite(source, tree)
    problems = unsupported(source, tree)[:_MAX_PROBLEMS]
    sites = call_sites(source, tree)
    return Prepared(plan.write(edited + _ending(tree, source)), sites, problems), None


def checkable(given: str, names: frozenset[str]) -> str:
    """The program as its types are checked; as given, where this Python cannot parse it."""
    text = unfence(given)
    try:
        return to_check(*parse(text, names))
    except Unparsed:
        return text


def _ending(tree: Tree, source: Source) -> str:
    """What is added so that a program has a result: a call of `main`, or the variable `result`."""
    body = tree.module.body
    functions = {item.name: item for item in body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
    last = body[-1]
    if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
        main = functions.get("main") or (last if len(functions) == 1 else None)
        return _call_of(main) if main is not None else ""
    if isinstance(last, ast.Expr | ast.Return) or tree.bound.get("result", 0) == 0 or _is_main_guard(last):
        return ""
    stores = (node for node in tree.nodes if isinstance(node, ast.Name) and node.id == "result" and isinstance(node.ctx, ast.Store))
    top = any(not any(isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef)
                      for parent in tree.ancestors(node)) for node in stores)
    return "\nresult" if top else ""


def _is_main_guard(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Compare) and (
        isinstance(node.test.left, ast.Name) and node.test.left.id == "__name__")


def _call_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    needed = len(function.args.args) - len(function.args.defaults)
    if needed > 1 or function.args.posonlyargs or function.args.kwonlyargs:
        return ""
    waiting = "await " if isinstance(function, ast.AsyncFunctionDef) else ""
    return f"\n{waiting}{function.name}({'input' if needed else ''})"
