"""Which network addresses anybody may reach, and which only this machine, its network or its cloud."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    Loopback, private, shared (RFC 6598), link-local (so a cloud's metadata service), multicast and reserved addresses
    don't, nor do IPv6 addresses that stand for such an IPv4 address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        inner = _carried_ipv4(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _carried_ipv4(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end at."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    if ip.teredo is not None:
        return ip.teredo[1]
    return ip.ipv4_mapped or ip.sixtofour
