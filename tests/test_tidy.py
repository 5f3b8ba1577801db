"""House rules that a linter does not know."""

import re
import subprocess
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests import style


def test_files_and_functions_fit() -> None:
    long_files = [str(p) for p in style.modules() if len(p.read_text().splitlines()) > style.MAX_FILE_LINES]
    long_functions = [f"{f.where} ({f.lines})" for p in style.modules() for f in style.functions(p) if f.lines > style.MAX_FUNCTION_LINES]
    assert (long_files, long_functions) == ([], [])


def test_imports_stand_at_the_top_and_have_no_cycles() -> None:
    assert [where for p in style.modules() for where in style.local_imports(p)] == []
    assert style.cycles() == []


def test_trusted_set_is_readable_in_one_sitting() -> None:
    assert style.count_lines(*style.TRUSTED) <= style.MAX_TRUSTED_LINES
    assert style.count_lines("inhabit/kernel") <= style.MAX_KERNEL_LINES
    assert style.count_lines("inhabit/runtime/bridge.py") <= style.MAX_BRIDGE_LINES


def test_every_module_says_what_it_is() -> None:
    silent = [str(p.relative_to(style.ROOT)) for p in style.modules()
              if p.read_text().strip() and not re.match(r'(#[^\n]*\n)*\s*r?"""', p.read_text())]
    assert silent == []


@pytest.mark.parametrize("pattern", [r"TODO|FIXME|XXX", r"/wor[k]/", r"//[a-z.-]*(npmjs|pythonhosted|pypi|debian)\."])
def test_nothing_unfinished_or_foreign_is_in_the_tree(pattern: str) -> None:
    found = subprocess.run(["git", "grep", "-nIE", pattern, "--", ".", ":!tests/test_tidy.py", ":!*package-lock.json", ":!*.lock"], cwd=style.ROOT,
                           capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_every_library_that_is_imported_is_named_and_every_named_one_used() -> None:
    """What comes along with another library may go with it; each line in pyproject.toml says what it is for."""
    project = tomllib.loads((style.ROOT / "pyproject.toml").read_text())["project"]
    named = {_distribution(line) for line in project["dependencies"]}
    extra = {_distribution(line) for lines in project["optional-dependencies"].values() for line in lines}
    providers = packages_distributions()
    imported = {top: {_distribution(name) for name in providers.get(top, [top])} for path in style.modules() for top in style.third_party(path)}
    assert {top: names for top, names in imported.items() if not names & (named | extra)} == {}
    text = "".join(path.read_text() for path in style.modules())        # some are read as files: a WebAssembly module, a binary
    assert {name for name in named - set().union(*imported.values()) if not re.search(name.replace("-", "[-_]"), text)} == set()


def _distribution(line: str) -> str:
    return re.split(r"[<>=!;\s\[]", line)[0].lower().replace("_", "-")
