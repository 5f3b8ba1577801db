"""What a product may write after `from inhabit import`."""

import inhabit


def test_the_names_that_are_promised_are_there_and_no_others() -> None:
    assert inhabit.__all__ == [
        "Call", "CallError", "Capability", "Denied", "Effects", "Extraction", "Grant", "HostGrant", "Inhabit", "InhabitError", "Limits", "Principal",
        "Reconciled", "Retention", "RunResult", "http", "mcp", "openapi", "sql",
    ]
    assert [name for name in inhabit.__all__ if getattr(inhabit, name).__name__ != name] == []
