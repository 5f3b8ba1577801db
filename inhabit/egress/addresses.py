"""Which IP addresses may be dialled. Pure: an address in, a reason or None out.

An address that carries another one (IPv4-mapped, NAT64, 6to4, Teredo, IPv4-compatible) is judged by the one
inside as well. Metadata services are refused always; private ranges only where the operator did not name them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

__all__ = ["refusal"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(ipaddress.ip_address(text) for text in (
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.253", "169.254.169.123",
    "fd00:ec2::254", "fd00:ec2::23", "fd00:ec2::253", "fd00:ec2::123", "fd20:ce::254",
    "100.100.100.200", "168.63.129.16", "192.0.0.192",
))
"""Cloud instance metadata, credential and platform services (AWS, ECS, EKS, GCP, Azure, Alibaba, Oracle)."""

_NEVER = tuple(ipaddress.ip_network(text) for text in (
    "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "192.0.0.0/24", "192.0.2.0/24",
    "198.51.100.0/24", "203.0.113.0/24", "::/128", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001:db8::/32", "5f00::/16",
))
_PRIVATE = tuple(ipaddress.ip_network(text) for text in (
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
    "::1/128", "fc00::/7",
))
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def refusal(text: str, *, private: bool) -> str | None:
    """Why this address may not be dialled, or None. `private`: loopback and private ranges are allowed."""
    if "%" in text:
        return "zone id"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "not an address"
    for one in _layers(address):
        reason = _judge(one, private)
        if reason:
            return reason
    return None


def _judge(address: _Address, private: bool) -> str | None:
    if address in _METADATA:
        return "metadata service"
    if any(address in network for network in _NEVER if network.version == address.version):
        return "special-purpose range"
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return None if private else "private range"
    return None if address.is_global or _carries(address) else "special-purpose range"


def _layers(address: _Address) -> Iterator[_Address]:
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        yield from _carried(address)


def _carries(address: _Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and any(True for _ in _carried(address))


def _carried(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address would reach through a translation."""
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _NAT64):
        yield low
    if address in _COMPATIBLE and int(address) > 1:
        yield low
