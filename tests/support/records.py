"""Stored session records."""

from __future__ import annotations

TIME = "2026-01-02T03:04:05.678Z"
CLAUDE = {
    "championId": "fizz-top",
    "internalId": "0a1b",
    "cli": "claude",
    "mode": "native",
    "path": "/w",
    "status": "active",
    "createdAt": TIME,
    "lastUsed": TIME,
}
