"""Connections to a gateway by its URL. Imports nothing that only operations need."""

from __future__ import annotations

import contextlib
import http.client
import socket
from http import HTTPStatus
from urllib.parse import urlsplit

from dev_sessions.errors import DevSessionsError, InvalidRequest
from dev_sessions.models import JsonObject
from dev_sessions.system import paths
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.unix_address import socket_path

#: Maximum bytes of a response: far more than the longest conversation.
_MAX_BODY = 64 * 1024 * 1024


class GatewayFailed(DevSessionsError):
    """Raised when the gateway cannot be reached, or the connection ends before its response."""

    reports_arrival = True  # the client adds that in the middle of version 0.4's line


def get(url: str, path: str, token: str | None, timeout: float) -> tuple[int, JsonObject | None]:
    """Send one GET, with a timeout in seconds; return the status, and the body if it is a JSON object.

    Raises InvalidRequest for an invalid URL, GatewayFailed when there is no response.
    """
    connection, prefix = connect(url.rstrip("/"), timeout)
    with contextlib.closing(connection):
        try:
            connection.request("GET", prefix + path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, parse_object(read_body(response))
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise GatewayFailed(f"{url} does not answer: {reason}") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect(url: str, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection that is not open yet, and the prefix of its paths. Raises InvalidRequest."""
    if path := socket_path(url):
        return _UnixConnection(path, timeout), ""
    try:
        target = urlsplit(url)
        if target.scheme == "http" and target.hostname:
            return http.client.HTTPConnection(target.hostname, target.port, timeout=timeout), target.path
    except (ValueError, http.client.InvalidURL):
        pass
    raise InvalidRequest(f"{paths.GATEWAY_URL} is {url!r}; it has to be http://HOST:PORT or unix:///PATH")


def is_health(status: int, body: JsonObject | None) -> bool:
    """Return whether a response to `GET /health` is that of a healthy gateway."""
    return status == HTTPStatus.OK and body is not None and body.get("status") == "healthy"


def read_body(response: http.client.HTTPResponse) -> bytes:
    """Read a body. Raises HTTPException for one that is too large, and OSError."""
    body = response.read(_MAX_BODY + 1)
    if len(body) > _MAX_BODY:
        raise http.client.HTTPException(f"its response is larger than {_MAX_BODY} bytes")
    return body
