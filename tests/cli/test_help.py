"""`inhabit COMMAND --help` parses arguments, and loads nothing else: counted in modules, not in seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from inhabit.cli import COMMANDS

MAX_MODULES = 360
"""The standard library's part is 200 and the HTTP client's 50; the app is 1,000."""
HEAVY = {"anyio", "cel_expr_python", "jsonschema_rs", "mcp", "numpy", "pydantic", "pydantic_monty", "starlette", "tree_sitter", "uvicorn",
         "wasmtime", "yaml", "inhabit.app", "inhabit.catalog", "inhabit.config", "inhabit.connectors", "inhabit.isolates", "inhabit.policy",
         "inhabit.runtime", "inhabit.server"}
_COUNT = """
import json, sys
from inhabit.cli import main
try:
    main([sys.argv[1], "--help"])
except SystemExit as end:
    assert not end.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_none_of_the_rooms_behind_the_command(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT, command], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert f"usage: inhabit {command}" in done.stdout
    assert (loaded & HEAVY, len(loaded) <= MAX_MODULES) == (set(), True), len(loaded)
