"""Search, declarations (TypeScript and Python), the check before a run, and learnt types."""

from inhabit.catalog.catalog import Catalog, SearchResult
from inhabit.catalog.observe import forget_learnt

__all__ = ["Catalog", "SearchResult", "forget_learnt"]
