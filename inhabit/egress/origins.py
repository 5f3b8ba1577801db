"""One canonical form of where a request goes: scheme, host and port. What is decided is what is dialled.

A host is lower-case ASCII (IDNA already applied by the URL parser), without a trailing dot, or an IP address
in its one canonical spelling. Everything that two parsers might read differently is refused: credentials
before the host, zone ids, percent signs, octal, hex, short and integer spellings of IPv4.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import httpx2

from inhabit.errors import ConfigError, Denied

__all__ = ["Origin", "configured", "of_url"]

_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_MAX_HOST_CHARS = 253
_MAX_PORT = 65_535
_MAX_URL_CHARS = 16 * 1024
_TARGET = re.compile(rb"/[\x21-\x7e]*\Z")


@dataclass(frozen=True, slots=True)
class Origin:
    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _PORTS[self.scheme] == self.port else f"{host}:{self.port}"


def of_url(url: httpx2.URL) -> Origin:
    """Raises `Denied` for a URL whose destination is not plain."""
    if url.userinfo:
        raise _refused("a URL with credentials before the host")
    if len(str(url)) > _MAX_URL_CHARS:
        raise _refused(f"a URL of more than {_MAX_URL_CHARS} characters")
    if not _TARGET.match(url.raw_path):
        raise _refused("a path or query with characters that a URL cannot carry")
    port = url.port
    if url.scheme not in _PORTS:
        raise _refused("a scheme other than http and https")
    if port is not None and not 0 < port <= _MAX_PORT:
        raise _refused(f"a port that is none (1 to {_MAX_PORT})")
    return Origin(url.scheme, _host(url.raw_host.decode("ascii", "replace")), port or _PORTS[url.scheme])


def configured(text: str) -> Origin:
    """An origin as an operator writes it: `https://api.example.com` or `http://127.0.0.1:8080`.

    Raises `ConfigError` for a path, a wildcard or anything `of_url` refuses.
    """
    try:
        url = httpx2.URL(text)
        if url.raw_path not in (b"", b"/") or url.fragment:
            raise ConfigError(f"origin {text!r} has a path", fix="scheme://host or scheme://host:port")
        return of_url(url)
    except (httpx2.InvalidURL, UnicodeError, Denied) as error:
        raise ConfigError(f"{text!r} is not an origin: {error}", fix="scheme://host or scheme://host:port") from None


def _host(raw: str) -> str:
    host = raw.lower().strip("[]") if raw.startswith("[") else raw.lower()
    if ":" in host or raw.startswith("["):
        return _ipv6(host)
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.match(labels[-1]):
        return _ipv4(host)
    if not host or len(host) > _MAX_HOST_CHARS or not all(_LABEL.match(label) for label in labels):
        raise _refused("a host name that is not one")
    return host


def _ipv4(host: str) -> str:
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise _refused("an IPv4 address in an unusual spelling") from None


def _ipv6(host: str) -> str:
    if "%" in host:
        raise _refused("an address with a zone id")
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise _refused("an IPv6 address that is not one") from None


def _refused(what: str) -> Denied:
    return Denied(f"outbound request refused: {what}", code="egress_denied",
                  details={"rule": "egress.url", "reason": what})
