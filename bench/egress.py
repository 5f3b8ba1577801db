"""Where a URL leads: the broker's reading against a mainstream client's own. `python -m bench.egress --urls 1000000`.

A URL that the broker refuses goes nowhere, so nothing can disagree with it. URLs are generated until as many as were asked for
are different ones that the broker accepts; each of these is read by both.

    egress.urls            URLs generated: hosts, ports, userinfo, escapes, dots, slashes, control characters and addresses in
                           odd spellings, some of random letters and bytes, put together and mutated at random (seeded)
    egress.accepted        different ones that the broker takes to lead somewhere, all of them compared
    egress.disagreements   accepted ones for which urllib3, which requests and many SDKs dial with, names another scheme, host
                           or port, or nothing
    egress.disagreements_as_written   the same for the text before the broker put it into its canonical form
    egress.escapes         accepted ones that urllib3 or the standard library would dial at a place outside of the allow-list,
                           while the broker reads one inside
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from ipaddress import IPv6Address
from urllib.parse import urlsplit

import httpx2
import urllib3

from bench.report import Report
from inhabit.egress.origins import Origin, configured, of_url
from inhabit.errors import Denied

_ALLOWED = ("https://api.example.com", "http://api.example.com:8080", "https://93.184.216.34", "https://[2606:2800:220:1::1]")
_HOSTS = ("api.example.com", "API.Example.COM", "api.example.com.", "evil.test", "notapi.example.com", "api.example.com.evil.test", "xn--bcher-kva.example",
          "bücher.example", "аpi.example.com", "93.184.216.34", "127.0.0.1", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0.0.0.0",
          "[2606:2800:220:1::1]", "[2606:2800:0220:0001::1]", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "[v1.x]", "localhost", "169.254.169.254",
          "metadata.google.internal", "a" * 64 + ".test", "_dmarc.example.com", "-a.test", "a..test", "", "%61pi.example.com", "api%2eexample%2ecom", "api。example。com")
_SCHEMES = ("https://", "http://", "HTTPS://", "https:/", "https:", "https:\\\\", "//", "ftp://", "javascript:", "https:///", "http:\t//", "ht tp://", "")
_USERS = ("", "", "", "", "user@", "user:pass@", "@", "api.example.com@", "api.example.com:443@", "a%40b@", "evil.test#@", "x\\@")
_PORTS = ("", "", "", ":443", ":80", ":8080", ":0", ":65535", ":65536", ":00443", ":", ":4 43", ":443a", ":-1", ":４４３")
_TAILS = ("", "/", "/a/b?c=d", "/../x", "/%2e%2e/x", "?q=1", "#frag", "\\evil.test/", "/\\evil.test", "//evil.test/", ";x", "/a b", "/\r\nHost: evil.test", "/é", "?@evil.test", "#@evil.test/")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCXYZéßaаƒ"
_NOISE = "\0\t\r\n\\/@#?:.%[] \x7f\u200b\u2028。／＠：ａ%00%0a%2f"


def one(chance: random.Random) -> str:
    plain = chance.random() < 0.5
    scheme = chance.choice(_SCHEMES[:3] if plain else _SCHEMES)
    host = chance.choice(_HOSTS) if chance.random() < 0.5 else _host(chance)
    tail = chance.choice(_TAILS) if chance.random() < 0.5 else "/" + _letters(chance, 12)
    text = scheme + chance.choice(_USERS) + host + chance.choice(_PORTS) + tail
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 4))):
        at = chance.randrange(len(text) + 1)
        text = chance.choice((text[:at] + chance.choice(_NOISE) + text[at:], text[:at] + text[at + 1:], text[:at] + text[at:].swapcase()))
    return text


def _host(chance: random.Random) -> str:
    """A random name, or an address in one of the spellings that some parser somewhere takes."""
    match chance.randrange(5):
        case 0:
            return ".".join(chance.choice(("{}", "{}", "{:#x}", "0{:o}")).format(chance.randrange(300)) for _ in range(chance.randrange(1, 5)))
        case 1:
            return f"[{IPv6Address(chance.getrandbits(128))}]" if chance.random() < 0.7 else f"[{IPv6Address(chance.getrandbits(64)).exploded}]"
        case 2:
            return _letters(chance, 8) + "." + chance.choice(_HOSTS)
        case _:
            return ".".join(_letters(chance, 8) for _ in range(chance.randrange(1, 5)))


def _letters(chance: random.Random, most: int) -> str:
    return "".join(chance.choice(_LETTERS if chance.random() < 0.2 else _LETTERS[:36]) for _ in range(chance.randrange(1, most)))


def brokered(text: str) -> tuple[Origin, str] | None:
    """Where the broker would dial, and the URL as it was understood; None when it refuses."""
    try:
        url = httpx2.URL(text)
        return of_url(url), str(url)
    except (httpx2.InvalidURL, UnicodeError, Denied):
        return None


def urllib3_reads(text: str) -> tuple[str, str, int] | None:
    try:
        parsed = urllib3.util.parse_url(text)
    except (urllib3.exceptions.LocationParseError, ValueError):
        return None
    host = (parsed.host or "").strip("[]").lower().removesuffix(".")
    return (parsed.scheme or "", host, parsed.port or {"http": 80, "https": 443}.get(parsed.scheme or "", 0))


def stdlib_host(text: str) -> str | None:
    try:
        return (urlsplit(text).hostname or "").removesuffix(".")
    except ValueError:
        return None


def measure(count: int, report: Report) -> None:
    chance = random.Random(20261121)
    allowed = {configured(text) for text in _ALLOWED}
    allowed_hosts = {origin.host for origin in allowed}
    generated = escapes = raw = 0
    accepted: set[str] = set()
    differ: Counter[str] = Counter()
    began = time.perf_counter()
    while len(accepted) < count:
        text = one(chance)
        generated += 1
        read = brokered(text)
        if read is None or text in accepted:
            continue
        accepted.add(text)
        origin, canonical = read
        # What a client is handed is the canonical form: the text is parsed once, and the parsed form dialled.
        other = urllib3_reads(canonical)
        if other is None or (other[0], _address(other[1]), other[2]) != (origin.scheme, origin.host, origin.port):
            differ[f"{text!r}: broker {origin}, urllib3 {other}"] += 1
        before = urllib3_reads(text)
        if before is not None and (before[0], _address(before[1]), before[2]) != (origin.scheme, origin.host, origin.port):
            raw += 1
            differ[f"{text!r} as it was written: broker {origin}, urllib3 {before}"] += 1
        if origin in allowed and {_address(other[1]) if other else "", _address(stdlib_host(canonical) or "")} - allowed_hosts:
            escapes += 1
    report.figure("egress.urls", generated, "URLs")
    report.figure("egress.accepted", len(accepted), "URLs")
    report.figure("egress.disagreements", sum(differ.values()) - raw, "URLs")
    report.figure("egress.disagreements_as_written", raw, "URLs")
    report.figure("egress.escapes", escapes, "URLs")
    report.figure("egress.judged_per_s", generated / (time.perf_counter() - began), "1/s")
    for example, _ in differ.most_common(5):
        report.note(example)


def _address(host: str) -> str:
    """An IPv6 address in its one spelling; what is none stays as it is."""
    try:
        return str(IPv6Address(host))
    except ValueError:
        return host


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=1_000_000, help="how many accepted ones")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="at most 45 seconds, the same names")
    given = parser.parse_args()
    measure(20_000 if given.quick else given.urls, Report(given.json))
    return 0


if __name__ == "__main__":
    sys.exit(main())
