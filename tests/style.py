"""The style table: `python -m tests.style`. Median and p90 function length, longest ones, cycles, local imports."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "inhabit"
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
TRUSTED = ("inhabit/kernel", "inhabit/wire", "inhabit/runtime/bridge.py")
MAX_TRUSTED_LINES = 2_000
MAX_KERNEL_LINES = 1_000
MAX_BRIDGE_LINES = 300


@dataclass(frozen=True)
class Function:
    where: str
    lines: int


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield Function(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines)


def local_imports(path: Path) -> list[str]:
    found = []
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [f"{path.relative_to(ROOT)}:{n.lineno}" for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
    return found


def third_party(path: Path) -> set[str]:
    """Top-level names of the libraries that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"inhabit"}


def imports() -> dict[str, set[str]]:
    """Module → modules of the package that it imports when it is loaded."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in modules()}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        targets: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                targets |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        graph[name] = (targets & set(names)) - {name}
    return graph


def cycles() -> list[list[str]]:
    """Strongly connected groups of more than one module, parents importing their own children excepted."""
    graph = imports()
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == name:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def count_lines(*paths: str) -> int:
    files = [f for p in paths for f in ([ROOT / p] if (ROOT / p).is_file() else sorted((ROOT / p).rglob("*.py")))]
    return sum(len(f.read_text().splitlines()) for f in files)


def main() -> int:
    lengths = [f for path in modules() for f in functions(path)]
    counts = sorted(f.lines for f in lengths)
    rows = [
        ("modules", len(modules())),
        ("lines", count_lines("inhabit")),
        ("functions", len(counts)),
        ("function length, median", int(statistics.median(counts))),
        ("function length, p90", counts[int(len(counts) * 0.9)]),
        ("function length, longest", f"{max(lengths, key=lambda f: f.lines).lines}  {max(lengths, key=lambda f: f.lines).where}"),
        ("import cycles", len(cycles())),
        ("function-local imports", sum(len(local_imports(p)) for p in modules())),
        ("trusted set (kernel, wire, bridge), lines", f"{count_lines(*TRUSTED)} of {MAX_TRUSTED_LINES}"),
        ("kernel, lines", f"{count_lines('inhabit/kernel')} of {MAX_KERNEL_LINES}"),
        ("bridge, lines", f"{count_lines('inhabit/runtime/bridge.py')} of {MAX_BRIDGE_LINES}"),
    ]
    for name, value in rows:
        print(f"{name:44} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
