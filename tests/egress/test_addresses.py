"""Which addresses may be dialled."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhabit.egress.addresses import refusal

METADATA = ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "169.254.170.2", "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe", "::ffff:100.100.100.200", "2002:a9fe:a9fe::1"]
SPECIAL = ["0.0.0.0", "::", "0.1.2.3", "224.0.0.1", "255.255.255.255", "fe80::1", "ff02::1", "169.254.1.1", "fe80::1%eth0", "240.0.0.1", "192.0.2.1"]
PRIVATE = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1", "fc00::1",
           "fd12::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "::127.0.0.1"]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", METADATA)
def test_C07_metadata_is_refused_even_where_private_ranges_are_allowed(text: str) -> None:
    assert refusal(text, private=True) is not None


@pytest.mark.parametrize("text", SPECIAL)
def test_C06_special_ranges_are_refused_always(text: str) -> None:
    assert refusal(text, private=True) is not None


@pytest.mark.parametrize("text", PRIVATE)
def test_C06_private_ranges_need_the_operator(text: str) -> None:
    assert refusal(text, private=False) is not None


@pytest.mark.parametrize("text", ["127.0.0.1", "10.1.2.3", "::1", "fc00::1", "192.168.1.1", "100.64.0.1"])
def test_private_ranges_are_reachable_when_the_operator_wrote_them(text: str) -> None:
    assert refusal(text, private=True) is None


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_reachable(text: str) -> None:
    assert refusal(text, private=False) is None


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "1.2.3.4.5", "٣.1.1.1"])
def test_C06_only_canonical_spellings_are_addresses(text: str) -> None:
    assert refusal(text, private=True) is not None


@given(st.ip_addresses())
def test_nothing_that_is_not_global_is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if refusal(str(address), private=False) is None:
        inner = getattr(address, "ipv4_mapped", None) or address
        assert not (inner.is_loopback or inner.is_link_local or inner.is_multicast or inner.is_unspecified)
