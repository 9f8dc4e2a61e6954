"""Parse the head of an HTTP/1.1 request. What two parsers could read differently is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dev_sessions.system.fast_dataclass import fast_dataclass

#: Maximum bytes of a head, and of its fields. Node's client sends about 300 bytes in 9 fields.
MAX_HEAD, _MAX_FIELDS = 32 * 1024, 100
_REQUEST_LINE = rb"([A-Z]{1,20}) (/[!-\"$-~]*) HTTP/1\.[01]"
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)"
#: The fields that the gateway reads: with two of them, another program may have read the other one.
_UNIQUE = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "sec-fetch-site",
        "transfer-encoding",
    }
)


class Refused(Exception):
    """Raised for a request that is refused, with the HTTP status of the response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@fast_dataclass(frozen=True)
class RequestHead:
    """The head of a request; names of `headers` are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def parse_head(data: bytes) -> RequestHead:
    r"""Parse a head with its empty line. Raises Refused.

    For example, from Node, which sends names in lower case::

        GET /status?id=fizz-top HTTP/1.1\r\n
        host: host.docker.internal:6767\r\n
        \r\n
    """
    if len(data) > MAX_HEAD:
        raise Refused(431, f"The head of the request is larger than {MAX_HEAD} bytes")
    if not data.endswith(b"\r\n\r\n"):
        raise Refused(400, "The head of the request does not end with an empty line")
    first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    request_line = re.fullmatch(_REQUEST_LINE, first)
    if request_line is None:
        raise Refused(400, "The request line is not METHOD /PATH HTTP/1.1")
    if len(lines) > _MAX_FIELDS:
        raise Refused(431, f"The request has more than {_MAX_FIELDS} header fields")
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        field = re.fullmatch(_FIELD, line)
        if field is None:
            raise Refused(400, f"Header field {number} is not NAME: VALUE")
        name = field[1].decode("ascii").lower()
        if name in _UNIQUE and name in headers:
            raise Refused(400, f"The request has two header fields {name}")
        headers[name] = field[2].decode("latin-1").strip(" \t")
    method, target = (group.decode("ascii") for group in request_line.groups())
    path, _, query = target.partition("?")
    return RequestHead(method, path, query, headers)
