"""URL prefixes: whatever is granted, three parsers of the trade agree that it lies where the prefix points."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic_core import Url

from inhabit.contracts.effects import Effects
from inhabit.contracts.operation import Operation
from inhabit.errors import InvalidInput
from inhabit.kernel.grants import Grant, Permitted

OPERATION = Operation("http.fetch", {"type": "object"}, effects=Effects())
PREFIX = "https://api.test/v1"


def granted(prefix: str, value: object) -> bool:
    grant = Grant.of({"pattern": "http.fetch", "caveats": [{"argument": "url", "prefix": prefix}]})
    return isinstance(grant.permits(OPERATION, {"url": value}, 0, {}), Permitted)


@pytest.mark.parametrize("value", [
    "https://api.test.evil.org/v1", "https://api.testevil.org/v1/x", "https://api.test@evil.org/v1", "https://api.test:pw@evil.org/v1",
    "https://api.test%2eevil.org/v1", "https://api.test%40evil.org/v1", "https://api.test:8443/v1", "https://api.test:443@evil.org/v1",
    "https://api.test\\@evil.org/v1", "https://api.test\\.evil.org/v1", "https:\\\\evil.org/v1", "https:/api.test/v1", "https:api.test/v1",
    "https:///api.test/v1", "https:///evil.org/v1", "http://api.test/v1", "ftp://api.test/v1", "//api.test/v1", "https://api.test/v10",
    "https://api.test/v1x", "https://api.test/V1", "https://api.test/", "https://api.test", "https://api.test/x/../v1", "https://api.test/v1/../x",
    "https://api.test/v1/%2e%2e/x", "https://api.test/v1/%252e%252e/x", "https://api.test/v1%2fx", "https://api.test/v1/..;/x", "https://api.test//v1",
    "https://api.test/v1\\..\\x", "https://api.test\t/v1/x", "https://api.te\nst/v1", " https://api.test/v1", "https://api.test\u3002evil.org/v1",
    "https://аpi.test/v1", "https://api.test。/v1", "https://ａpi.test/v1", "https://api.test../v1", "https://.api.test/v1", "https://api.test:/v1:x/",
    "https://api.test:0443443/v1", "https://api.test#@evil.org/v1", "https://api.test?@evil.org/v1", "https://api.test;evil.org/v1",
    "https://api.test/v1/" + "x" * 9_000, 7, None, ["https://api.test/v1"]])
def test_E03_a_url_prefix_is_not_left_by_any_spelling(value: object) -> None:
    assert not granted(PREFIX, value)


@pytest.mark.parametrize("value", [
    "https://api.test/v1", "https://api.test/v1/", "https://api.test/v1/users/7?q=a%20b#c", "https://api.test/v1?x=1", "HTTPS://API.TEST/v1/x",
    "https://api.test:443/v1/x", "https://api.test:/v1/x", "https://api.test./v1", "https://api.test/%761/x", "https://api.test/v1/ü/a+b"])
def test_E03_plain_urls_below_a_prefix_are_granted(value: str) -> None:
    assert granted(PREFIX, value)


@pytest.mark.parametrize(("prefix", "value", "expected"), [
    ("https://api.test", "https://api.test/x", True), ("https://api.test", "https://api.test.evil.org/", False), ("https://api.test", "https://api.test?x", True),
    ("https://api.test/", "https://api.test", True), ("https://api.test/v1/", "https://api.test/v1", False), ("https://api.test/v1/", "https://api.test/v1/x", True),
    ("http://[::1]:8080/a", "http://[::1]:8080/a/b", True), ("http://[::1]:8080/a", "http://[::1]:80800/a/b", False),
    ("s3://bucket/dir", "s3://bucket/dir/x", True), ("s3://bucket", "s3://bucket-evil/x", False), ("s3://bucket", "s3://Bucket/x", False),
    ("s3://bucket", "s3://a@bucket/x", False), ("file:///srv/docs", "file:///srv/docs/a", True), ("file:///srv/docs", "file:///srv/docs2", False),
    ("urn:isbn:", "urn:isbn:1", True), ("docs/", "docs/a", True), ("ord_", "ord_1", True)])
def test_E03_what_a_prefix_means(prefix: str, value: str, expected: bool) -> None:
    assert granted(prefix, value) is expected


@pytest.mark.parametrize("prefix", ["https://", "//api.test", "https://a@api.test", "https://api.test?x=", "https://api.test/#a", "https://*.test/", "https://ä.test",
                                    "https://api.test/../x", "https://api.test:x/", "https:// api.test", "s3://a@b/"])
def test_a_prefix_that_cannot_be_compared_is_refused_when_it_is_read(prefix: str) -> None:
    with pytest.raises(InvalidInput, match="not a plain URL"):
        granted(prefix, "https://api.test/")


def _seen(value: str) -> list[tuple[str, str, int, str]]:
    """How the parsers that clients use read a URL: WHATWG, httpx2 and the standard library."""
    found: list[tuple[str, str, int, str]] = []
    whatwg = Url(value)
    found.append((whatwg.scheme, (whatwg.host or "").rstrip("."), whatwg.port or 0, whatwg.path or "/"))
    plain = httpx2.URL(value)
    found.append((plain.scheme, plain.raw_host.decode().rstrip("."), plain.port or 443, plain.raw_path.decode().partition("?")[0]))
    parts = urlsplit(value)
    found.append((parts.scheme, (parts.hostname or "").rstrip("."), parts.port or 443, parts.path or "/"))
    return found


PIECES = st.sampled_from([
    "https", "HTTP", "http", ":", "/", "//", "://", "\\", "@", "?", "#", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "%40", "%00", ";", ":443", ":80", ":0443", ":8443",
    "api.test", "API.test", "api", "test", ".evil.org", "evil.org", "[::1]", "127.0.0.1", "0x7f.1", "xn--pi-7kc", "\u3002", "\uff0e", "а", "ａ", "v1", "v", "1",
    "%76", "%771", " ", "\t", "\n", "\u200b", "\u00ad", "\x00", "user", "+", "|", "^", "{", "'"])
URLS = st.lists(PIECES, max_size=8).map("".join)
ROUND_IT = st.builds(lambda a, b, c, d: f"{a}api.test{b}/v1{c}{d}", st.sampled_from(["https://", "https:", "HTTPS://", "https:\\\\", "https://x@", "https:///"]), URLS, URLS, st.text(max_size=5))


@settings(max_examples=1_500, deadline=None)
@given(st.one_of(ROUND_IT, URLS.map(lambda tail: "https://api.test" + tail), URLS, st.text(max_size=30)))
@example("https://api.test./v1/x")
@example("https://api.test/v1/\\evil.org/")
@example("https://api.test/v1?\\@evil.org")
def test_E23_what_is_granted_is_below_the_prefix_for_every_parser(value: str) -> None:
    if not granted(PREFIX, value):
        return
    for scheme, host, port, path in _seen(value):
        assert (scheme, host, port) == ("https", "api.test", 443)
        segments = path.replace("%76", "v").replace("%31", "1").split("/")
        assert segments[1] == "v1" and ".." not in segments


SEGMENT = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_~", min_size=1, max_size=8)


@given(st.lists(SEGMENT, max_size=4), st.lists(SEGMENT, max_size=4), SEGMENT)
def test_whatever_is_plainly_below_is_granted_and_beside_is_not(path: list[str], more: list[str], other: str) -> None:
    prefix = "/".join(["https://api.test", *path])
    assert granted(prefix, "/".join([prefix, *more]))
    assert not granted(prefix, "/".join([prefix + other, *more]))
