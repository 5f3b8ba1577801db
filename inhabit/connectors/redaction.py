"""Secrets taken out of what an upstream says: as they are, and base64, hex or percent-encoded.

Best effort by nature: an upstream that reverses or splits a secret is not caught. It guards against the plain
echo, in an error message or a debugging endpoint.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["Redactor"]

_MIN_CHARS = 6
"""Shorter values would blank out innocent text."""
_MARK = b"[redacted]"


class Redactor:
    """`clean` replaces every known form of the given secrets."""

    __slots__ = ("_forms",)

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= _MIN_CHARS for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)

    def clean(self, data: bytes) -> bytes:
        for form in self._forms:
            if form in data:
                data = data.replace(form, _MARK)
        return data

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    forms = {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(secret, safe="").encode(), quote_plus(secret).encode(),
             "".join(f"%{byte:02x}" for byte in raw).encode(), "".join(f"%{byte:02X}" for byte in raw).encode(),
             raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"/", b"\\/"), raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')}
    for offset in range(3):      # the three ways a secret can lie in a longer base64 text
        text = base64.b64encode(b"\0" * offset + raw)
        middle = text[(offset * 8 + 5) // 6: len(text) - 4 if len(raw) + offset > 3 else None] if offset else text.rstrip(b"=")[: len(raw) * 8 // 6]
        if len(middle) >= _MIN_CHARS:
            forms |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
