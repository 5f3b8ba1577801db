"""Secrets taken out of what an upstream says: as they are, also as JSON or HTML may escape them, and base64, hex or percent-encoded.
Which characters an encoder escapes, and how it writes them, is its own affair: what is escaped is read as its reader would.

Best effort by nature: an upstream that reverses or splits a secret is not caught. It guards against the plain
echo, in an error message or a debugging endpoint.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import AsyncIterator, Iterable
from urllib.parse import quote, quote_plus

import httpx2

__all__ = ["RedactedStream", "Redactor"]

_MIN_CHARS = 6
"""Shorter values would blank out innocent text."""
_MARK = b"[redacted]"
_ESCAPED = re.compile(rb"\\u[0-9a-fA-F]{4}|%[2-9a-fA-F][0-9a-fA-F]|&(?:#[0-9]{1,5}|#[xX][0-9a-fA-F]{1,4}|amp|lt|gt|quot|apos);")
"""In JSON, in a URL, in HTML."""
_ODD = re.compile(
    rb"\\u00(?:3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])|%(?:25)?(?:3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])"
    rb"|&#(?:4[89]|5[0-7]|6[5-9]|[78][0-9]|90|9[7-9]|1[01][0-9]|12[0-2]|[xX](?:3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]));")
"""Letters and digits escaped, which no encoder needs to do."""
_PLAIN = re.compile(rb"[A-Za-z0-9]+")
_PLAIN_MIN = 4
_ESCAPE_BYTES = 8
_TIMES_ESCAPED = 2
"""A URL in a query is."""
_STILL_ESCAPED = {b'"': b'\\"', b"\\": b"\\\\"}


class Redactor:
    """`clean` replaces every known form of the given secrets."""

    __slots__ = ("_forms", "_runs")

    def __init__(self, secrets: Iterable[str]) -> None:
        long = [secret for secret in secrets if len(secret) >= _MIN_CHARS]
        self._forms = sorted({form for secret in long for form in _forms(secret)}, key=len, reverse=True)
        self._runs = [_longest_run(secret.encode()) for secret in long]

    def clean(self, data: bytes) -> bytes:
        plain, letters = (data := self._replaced(data)), _Letters()
        for _ in range(_TIMES_ESCAPED if self._may_hide(data) else 0):
            if not _ESCAPED.search(plain):
                break
            plain = _ESCAPED.sub(lambda found: letters[found[0]], plain)
            if (cleaned := self._replaced(plain)) != plain:
                return cleaned
        return data

    def _may_hide(self, data: bytes) -> bool:
        """Whether a secret may be escaped in there. To read every escape takes a tenth of a second for each MB of, say, Japanese in JSON;
        where letters and digits are as they are, a piece of the secret is too.
        """
        return any(run in data for run in self._runs) or (bool(self._runs) and _ODD.search(data) is not None)

    def headers(self, headers: httpx2.Headers) -> httpx2.Headers:
        return httpx2.Headers([(self.clean(name), self.clean(value)) for name, value in headers.raw])

    def held_back(self, data: bytes) -> int:
        """How many bytes at the end may be the beginning of a form."""
        longest = min(len(data), max(map(len, self._forms), default=1) - 1)
        line = re.split(rb"[\r\n]", data[len(data) - min(len(data), longest * _ESCAPE_BYTES):])[-1]     # no secret goes over its end
        if any(sign in line for sign in (b"\\", b"%", b"&")):
            return len(line)
        return next((size for size in range(longest, 0, -1) if any(form.startswith(data[-size:]) for form in self._forms)), 0)

    def _replaced(self, data: bytes) -> bytes:
        for form in self._forms:
            if form in data:
                data = data.replace(form, _MARK)
        return data

    def __repr__(self) -> str:
        return f"Redactor({len(self._forms)} forms)"


class RedactedStream(httpx2.AsyncByteStream):
    """A body that is read as it comes. What may be the beginning of a secret waits for what follows it."""

    def __init__(self, body: httpx2.AsyncByteStream, redactor: Redactor) -> None:
        self._body = body
        self._redactor = redactor

    async def __aiter__(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._body:
            data = self._redactor.clean(rest + chunk)
            held = self._redactor.held_back(data)
            rest = data[len(data) - held:]
            yield data[:len(data) - held]
        if rest:
            yield rest

    async def aclose(self) -> None:
        await self._body.aclose()


def _longest_run(raw: bytes) -> bytes:
    """Of letters and digits; empty, which is in everything, where none is long enough to tell anything."""
    longest = max(_PLAIN.findall(raw), key=len, default=b"")
    return longest if len(longest) >= _PLAIN_MIN else b""


class _Letters(dict[bytes, bytes]):
    """What an escape stands for, worked out once for each that comes."""

    def __missing__(self, escape: bytes) -> bytes:
        if escape[:1] == b"%":
            raw = bytes((int(escape[1:], 16),))
        else:
            letter = chr(int(escape[2:], 16)) if escape[:1] == b"\\" else html.unescape(escape.decode())
            raw = escape if letter < " " or "\ud800" <= letter <= "\udfff" else letter.encode()
        self[escape] = found = _STILL_ESCAPED.get(raw, raw)
        return found


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
