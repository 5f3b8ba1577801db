"""Search, declarations (TypeScript and Python), the check before a run, and learnt types."""

from inhabit.catalog.catalog import Catalog, SearchResult

__all__ = ["Catalog", "SearchResult"]
