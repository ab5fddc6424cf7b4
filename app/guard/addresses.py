"""The address of a visitor."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def visitor(scope: Scope, proxies: int = 0) -> str:
    """Return a visitor's address: of IPv6 the first 64 bits, which one household has to itself.

    Each of the ``proxies`` in front of the server appends the address that it saw to
    X-Forwarded-For; whatever stands before them was written by the visitor.
    """
    client = scope.get("client")
    seen = [str(client[0])] if client else ["unknown"]
    forwarded = [
        part.strip()
        for name, value in scope.get("headers", ())
        if name == b"x-forwarded-for"
        for part in value.decode("latin-1").split(",")
    ]
    if proxies:
        seen = (forwarded + seen)[-1 - proxies :]
    try:
        address = ipaddress.ip_address(seen[0].strip("[]"))
    except ValueError:
        return "unknown"
    if address.version == 6:
        if mapped := address.ipv4_mapped:
            return str(mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
