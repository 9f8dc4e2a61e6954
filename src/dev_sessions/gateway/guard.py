"""Who may drive a gateway: what a web page, a stranger or a broken client sends is refused before it is read. Pure."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping

from dev_sessions.dataclass import dataclass

#: The names under which containers reach their host; what a web page's own name is made to resolve to is not there.
OWN_NAMES = frozenset({"localhost", "host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
#: Bytes of a request's body: far more than the longest message an agent takes.
LARGEST_BODY = 32 * 1024 * 1024


class Refused(Exception):
    """A request that is not answered; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Guard:
    """What a request has to show. `token` None: nothing; `names`: further names of this host."""

    token: str | None = None
    names: Collection[str] = ()

    def admit(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """How many bytes of body to read. Refused."""
        # Node's clients, as that of version 0.4, write the names in small letters.
        headers = {name.lower(): value for name, value in headers.items()}
        host = headers.get("host", "")
        if not self._is_own(host):
            raise Refused(403, f"Host {host[:80]!r} is not this gateway's: start it with --allow-host to add a name")
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            raise Refused(403, "Web pages may not use this gateway")
        if self.token is not None and path != "/health":
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self.token}".encode()):
                wanted = "set DEV_SESSIONS_GATEWAY_TOKEN_FILE, or DEV_SESSIONS_GATEWAY_TOKEN"
                raise Refused(401, f"The gateway wants its token: {wanted}")
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
        raise Refused(411, "The request does not say its length")
    if int(length[:20]) > LARGEST_BODY:
        raise Refused(413, f"The body is larger than {LARGEST_BODY} bytes")
    return int(length)
