"""A connection to a gateway by its URL, and one look at it. Loads nothing of what operations need."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from urllib.parse import urlsplit

from dev_sessions import paths
from dev_sessions.errors import DevSessionsError, InvalidRequest
from dev_sessions.models import JsonObject

_UNIX = "unix://"


class GatewayFailed(DevSessionsError):
    """The gateway could not be reached, or the connection ended before its answer."""

    tells_arrival = True  # in its own place, because the rest of the line is 0.4's


def look(url: str, path: str, token: str | None, patience: float) -> tuple[int, JsonObject | None]:
    """One GET of a gateway, within about `patience` seconds: the status, and the body when it is a JSON object.

    InvalidRequest for a URL that is none, GatewayFailed when nobody answers.
    """
    connection, prefix = connect(url.rstrip("/"), patience)
    with contextlib.closing(connection):
        try:
            connection.request("GET", prefix + path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, parsed(response.read())
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise GatewayFailed(f"{url} does not answer: {reason}") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect(url: str, patience: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and what stands before a path. InvalidRequest."""
    if url.startswith(_UNIX):
        return _UnixConnection(url.removeprefix(_UNIX), patience), ""
    try:
        target = urlsplit(url)
        if target.scheme == "http" and target.hostname:
            return http.client.HTTPConnection(target.hostname, target.port, timeout=patience), target.path
    except (ValueError, http.client.InvalidURL):
        pass
    raise InvalidRequest(f"{paths.GATEWAY_URL} is {url!r}; it has to be http://HOST:PORT or unix:///PATH")


def parsed(data: bytes) -> JsonObject | None:
    try:
        body = json.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
