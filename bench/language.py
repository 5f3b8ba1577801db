"""Language coverage: what of JavaScript, TypeScript and Python the engines run. `python -m bench.language`.

Each language's probes are a module of their own (`bench/probes_javascript.py`, `bench/probes_python.py`) with a
function `run(report)`.
"""

from __future__ import annotations

import importlib
import importlib.util

from bench.report import Report, options

LANGUAGES = ("javascript", "python")


def main() -> None:
    given = options("Language coverage of the engines")
    report = Report(given.json)
    for language in LANGUAGES:
        name = f"bench.probes_{language}"
        if importlib.util.find_spec(name) is None:
            report.note(f"{name} is not there: {language} is not measured")
            continue
        importlib.import_module(name).run(report)


if __name__ == "__main__":
    main()
