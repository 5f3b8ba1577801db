"""Run a program: a file, or `-` for stdin.

The language is told by the file's ending (.py, .ts, .js), by --language, or by the source itself. Prints the
result as JSON on stdout and everything else on stderr. Exit code 1 when the program failed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import orjson

from inhabit.cli.client import api
from inhabit.cli.loop import run_async
from inhabit.cli.options import add_app_options, add_principal_option, number_within
from inhabit.cli.terminal import complain, progress, show_json
from inhabit.errors import InvalidInput

MAX_WAIT_S = 600
"""What a server waits for a run at most."""
_MAX_FRAMES = 10
"""Lines of a stack; `--json` has all of it."""
_ENDINGS = {".py": "python", ".ts": "typescript", ".js": "typescript", ".mts": "typescript", ".mjs": "typescript"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_app_options(parser)
    add_principal_option(parser)
    parser.add_argument("file", help="program file, or - for stdin")
    parser.add_argument("--language", choices=["typescript", "javascript", "python"])
    parser.add_argument("--input", metavar="JSON", help="what the program reads as `input`")
    parser.add_argument("--wait", type=number_within(0, MAX_WAIT_S, whole=False), default=MAX_WAIT_S, metavar="SECONDS", help="give the run this long, then leave it going")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help="a narrower limit, e.g. cpu_ms=500")
    parser.add_argument("--plan", action="store_true", help="hold what it would write, for `inhabit plan show` and `inhabit apply`")
    parser.add_argument("--json", action="store_true", help="print the whole answer: run, state, result, logs, calls")


def run(args: argparse.Namespace) -> int:
    return run_async(_run(args, _body(args)))


async def _run(args: argparse.Namespace, body: dict[str, Any]) -> int:
    async with api(args, resume=True) as client, progress("running"):
        answer = await client.post("/v1/runs", body)
    if args.json:
        show_json(answer)
    else:
        _show(answer, args.plan)
    return 0 if answer["state"] in ("completed", "running", "suspended") else 1


def _show(answer: dict[str, Any], planned: bool) -> None:
    for line in answer.get("logs", []):
        complain(line)
    if answer["state"] == "completed":
        show_json(answer.get("result"))
    error = answer.get("error")
    if error:
        complain(f"{error.get('code', 'error')}: {error.get('message', '')}" + (f" ({error['fix']})" if error.get("fix") else ""))
        details = error.get("details", {})
        for frame in _frames(details.get("stack")):
            complain(f"    {frame}")
        cause = details.get("details")
        if cause:
            complain(f"    {orjson.dumps(cause).decode()}")
    for asked in answer.get("approvals", []):
        complain(f"waits for approval: {asked['operation']}, {asked['reason']}; inhabit approve {asked['id']}")
    going = answer["state"] in ("queued", "running", "suspended")
    then = f"inhabit runs tail {answer['run']} follows it" if going else answer.get("next", "")
    complain(f"run {answer['run']}: {answer['state']}, {answer['calls']} call{'' if answer['calls'] == 1 else 's'}" + (f"; {then}" if then else ""))
    if planned and answer["state"] == "completed":
        complain(f"nothing was written: inhabit plan show {answer['run']}")


def _frames(stack: Any) -> list[str]:
    """Where in the program it failed, in the engine's order: JavaScript says the innermost frame first, Python last."""
    lines = [line.strip() for line in stack.splitlines() if line.strip()] if isinstance(stack, str) else []
    return lines if len(lines) <= _MAX_FRAMES else [*lines[:_MAX_FRAMES // 2], "…", *lines[-(_MAX_FRAMES // 2):]]


def _body(args: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {"program": _source(args.file), "wait_s": args.wait}
    language = args.language or _ENDINGS.get(Path(args.file).suffix)
    if language:
        body["language"] = language
    if args.input is not None:
        try:
            body["input"] = orjson.loads(args.input)
        except ValueError as error:
            raise InvalidInput(f"--input is not JSON: {error}") from None
    if args.plan:
        body["mode"] = "plan"
    if args.limit:
        body["limits"] = dict(_limit(item) for item in args.limit)
    return body


def _source(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not UTF-8 text") from None


def _limit(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not value.isdigit():
        raise InvalidInput(f"--limit {text!r} is not NAME=NUMBER", fix="e.g. --limit cpu_ms=500")
    return name, int(value)
