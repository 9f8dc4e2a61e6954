"""Access control of the gateway: refuse requests from web pages and unauthorized or broken clients. Pure."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping

from dev_sessions.gateway.request_head import Refused, RequestHead
from dev_sessions.system.fast_dataclass import fast_dataclass

#: The names by which containers reach their host. Any other name may be a web page's that resolves to this host.
OWN_NAMES = frozenset({"localhost", "host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
#: Maximum bytes of a request's body: far more than the longest message that an agent accepts.
MAX_BODY = 32 * 1024 * 1024
_HOST = r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z._-]+))(?::[0-9]{1,5})?"


@fast_dataclass(frozen=True)
class AccessPolicy:
    """The requirements of a request: the `token` if there is one, and a host name of this machine or one of `names`."""

    token: str | None = None
    names: Collection[str] = ()

    def admit(self, head: RequestHead) -> int:
        """Return the number of bytes of body to read. Raises Refused."""
        headers = head.headers
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(403, f"Host {host[:80]!r} is not this gateway's: start it with --allow-host to add a name")
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            raise Refused(403, "Web pages may not use this gateway")
        if self.token is not None and (head.method, head.path) != ("GET", "/health"):
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
                variables = "DEV_SESSIONS_GATEWAY_TOKEN_FILE or DEV_SESSIONS_GATEWAY_TOKEN"
                raise Refused(401, f"The gateway requires its token; set {variables}")
        if head.method == "POST":
            return _body_length(headers)
        if head.method != "GET":
            raise Refused(501, f"The gateway has no method {head.method}")
        if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
            raise Refused(400, "A GET has no body")
        return 0

    def _is_own(self, host: str) -> bool:
        match = re.fullmatch(_HOST, host)
        if match is None:
            return False
        name = (match["name"] or "").lower().removesuffix(".")
        if name in OWN_NAMES or name in {other.lower() for other in self.names}:
            return True
        try:
            ipaddress.IPv6Address(match["v6"]) if match["v6"] else ipaddress.IPv4Address(name)
        except ValueError:
            return False
        return True


def _body_length(headers: Mapping[str, str]) -> int:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "The body is not application/json")
    if "transfer-encoding" in headers or "content-length" not in headers:
        raise Refused(411, "The request has no Content-Length")
    length = headers["content-length"]
    if not re.fullmatch(r"0|[1-9][0-9]*", length):
        raise Refused(400, "The Content-Length of the request is not a number")
    if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
        raise Refused(413, f"The body is larger than {MAX_BODY} bytes")
    return int(length)
