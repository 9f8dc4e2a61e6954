"""Addresses of unix sockets, `unix://PATH`: as Codex's `--listen` and `--remote` take them, and a gateway's URL."""

from __future__ import annotations

_SCHEME = "unix://"


def unix_address(path: object) -> str:
    """Return the address of a unix socket at a path."""
    return f"{_SCHEME}{path}"


def socket_path(address: str) -> str | None:
    """Return the path of a unix socket's address; None for any other address."""
    return address.removeprefix(_SCHEME) if address.startswith(_SCHEME) else None
