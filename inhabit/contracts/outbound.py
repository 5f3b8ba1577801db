"""The only way a connector reaches a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import httpx2

__all__ = ["Outbound", "Reach"]


@dataclass(frozen=True, slots=True)
class Reach:
    """Where one connector may dial. `origins` are exact `scheme://host:port`; empty means nothing.

    `private_addresses` lets exactly these origins resolve to loopback or private ranges: the operator wrote
    such an address into the configuration. Metadata addresses stay refused.
    """

    origins: tuple[str, ...]
    private_addresses: bool = False
    max_response_bytes: int = 32 * 1024 * 1024   # after decoding
    max_redirects: int = 5
    timeout_s: float = 60.0


class Outbound(Protocol):
    def client(self, reach: Reach) -> httpx2.AsyncClient:
        """A client whose transport resolves once, checks every address, dials the checked one, and decides
        every redirect hop anew. Requests outside `reach` raise `Denied` before anything leaves.
        """
        ...
