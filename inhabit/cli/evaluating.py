"""What `inhabit search --catalog` needs of the search itself, loaded for it alone."""

from inhabit.catalog.evaluate import evaluate

__all__ = ["evaluate"]
