"""Access control of the gateway: refuse requests from web pages and unauthorized or broken clients. Pure."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping

from dev_sessions.system.fast_dataclass import fast_dataclass

#: The names by which containers reach their host. Any other name may be a web page's that resolves to this host.
OWN_NAMES = frozenset({"localhost", "host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
#: Maximum bytes of a request's body: far more than the longest message that an agent accepts.
MAX_BODY = 32 * 1024 * 1024


class Refused(Exception):
    """Raised for a request that is refused, with the HTTP status of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@fast_dataclass(frozen=True)
class AccessPolicy:
    """The requirements of a request: the `token` if there is one, and a host name of this machine or one of `names`."""

    token: str | None = None
    names: Collection[str] = ()

    def admit(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """Return the number of bytes of body to read. Raises Refused."""
        # Node's clients, such as version 0.4's, send header names in lower case.
        headers = {name.lower(): value for name, value in headers.items()}
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(403, f"Host {host[:80]!r} is not this gateway's: start it with --allow-host to add a name")
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            raise Refused(403, "Web pages may not use this gateway")
        if self.token is not None and path != "/health":
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self.token}".encode()):
                variables = "DEV_SESSIONS_GATEWAY_TOKEN_FILE or DEV_SESSIONS_GATEWAY_TOKEN"
                raise Refused(401, f"The gateway requires its token; set {variables}")
        if method == "GET" and not headers.keys() & {"content-length", "transfer-encoding"}:
            return 0
        return _body_length(headers)

    def _is_own(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        name = name.lower().removesuffix(".")
        if name in OWN_NAMES or name in {other.lower() for other in self.names}:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _body_length(headers: Mapping[str, str]) -> int:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "The body is not application/json")
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        raise Refused(411, "The request has no valid Content-Length")
    if int(length[:20]) > MAX_BODY:
        raise Refused(413, f"The body is larger than {MAX_BODY} bytes")
    return int(length)
