"""In which language a program is, where nobody says."""

from __future__ import annotations

import pytest

from bench.probes_javascript import FORMS, LANGUAGE
from inhabit.runtime.check import language_of

PYTHON = [
    "orders = await shop.orders.list(limit=3)\nreturn [o['id'] for o in orders]", "for o in await shop.orders.list():\n    print(o)",
    "x = await shop.a.b()\nif x:\n    return None", "return {o['id']: o for o in x}", "x = 1  # one\nreturn f\"{x}\"", "return await shop.orders.list(limit=3)",
    "Here:\n```python\nreturn 1\n```\nDone.", "```py\nreturn 1\n```", "return await shop.mail.send(text='see https://x.example; const a = 1')",
]
TYPESCRIPT = [
    "return 1", "return await shop.orders.list({})", "return (await shop.a.b({ a: 1 })).map(o => o.id)", "await shop.a.b({ x: 'for a in [b] None', y: true })",
    "// # a\nreturn 1", "switch (a) { case 1: default: }", "Here:\n```ts\nreturn 1\n```\nimport this from that", "```\nreturn 1\n```", "",
]


@pytest.mark.parametrize("source", PYTHON)
def test_what_is_plainly_python_is_taken_as_it(source: str) -> None:
    assert language_of(source, None) == "python"
    assert language_of(source, "typescript") == "typescript"   # what is said counts


@pytest.mark.parametrize("source", [*TYPESCRIPT, *FORMS.values(), *LANGUAGE.values()])
def test_all_else_is_typescript(source: str) -> None:
    assert language_of(source, None) == "typescript"
