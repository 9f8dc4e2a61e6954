"""Read the gateway's token from a file. Every user of the machine could read it in an argument."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dev_sessions.errors import InvalidRequest
from dev_sessions.system import paths

_MAX_SIZE = 4096


def container_token() -> str | None:
    """Return the token that a container sends to the gateway, from its environment; None if there is none.

    Raises InvalidRequest.
    """
    if token := os.environ.get(paths.GATEWAY_TOKEN):
        return _valid(token.strip(), paths.GATEWAY_TOKEN, "set it to the word that the gateway requires")
    file = os.environ.get(paths.GATEWAY_TOKEN_FILE)
    # Owner and mode are not checked: mounted secrets belong to the host's user, or are readable for all.
    return _read(Path(file), f"{paths.GATEWAY_TOKEN_FILE} has to name a file that this user can read") if file else None


def private_token(path: Path) -> str:
    """Return the token in a file that only its user can read. Raises InvalidRequest."""
    advice = "write a long random word into it, or let `dev-sessions gateway install --token` make it"
    return _read(path, advice, private=True)


def _read(path: Path, advice: str, *, private: bool = False) -> str:
    try:
        # Opening a pipe must not block; it is refused below.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if private and (status.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or status.st_uid not in (0, os.geteuid())):
                raise InvalidRequest(f"Others can read {path}: chmod 600 it, and choose another token if they did")
            content = stream.read(_MAX_SIZE + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise InvalidRequest(f"Cannot read the token in {path}: {error.strerror}; {advice}") from error
    return _valid(content.decode("latin-1").strip(), str(path), "write one line of letters and digits into it")


def _valid(token: str, where: str, advice: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or len(token) > _MAX_SIZE:
        raise InvalidRequest(f"{where} holds no token: {advice}")
    return token
