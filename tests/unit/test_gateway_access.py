"""Access control of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_sessions.gateway.access import MAX_BODY, AccessPolicy
from dev_sessions.gateway.request_head import Refused, parse_head

OWN = {"Host": "127.0.0.1:6767"}
POST = {**OWN, "Content-Type": "application/json", "Content-Length": "2"}


def admit(policy: AccessPolicy, method: str, path: str, *headers: dict[str, str], more: str = "") -> int:
    """Return the length of the body of a request with these headers and the lines `more`, as it comes from a socket."""
    lines = "".join(f"{name}: {value}\r\n" for each in headers for name, value in each.items())
    return policy.admit(parse_head(f"{method} {path} HTTP/1.1\r\n{lines}{more}\r\n".encode()))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:6767",
        "localhost.:1",
        "127.0.0.1",
        "10.0.0.7:6767",
        "[::1]:6767",
        "host.docker.internal:6767",
        "gateway.docker.internal",
        "host.containers.internal:6767",
        "My-Mac.local:6767",
    ],
)
def test_a_container_reaches_its_host_by_any_of_its_names(host: str) -> None:
    """Accepted hosts are localhost, addresses, the container engines' names for the host, and added names."""
    assert admit(AccessPolicy(names=["my-mac.local"]), "GET", "/list", {"Host": host}) == 0


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_headers_may_be_written_as_the_client_likes(change: Callable[[str], str]) -> None:
    """Header names are read in any case."""

    def written(headers: dict[str, str]) -> dict[str, str]:
        return {change(name): value for name, value in headers.items()}

    policy = AccessPolicy(token="sesame")
    entitled = {**POST, "Authorization": "Bearer sesame"}
    assert admit(policy, "POST", "/send", written(entitled)) == 2
    for more in ({"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}, {"Transfer-Encoding": "chunked"}):
        with pytest.raises(Refused):
            admit(policy, "POST", "/send", written({**entitled, **more}))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "localhost.evil.example:6767",
        "127.0.0.1.evil.example",
        "[",
        "0x7f",
        "localhost:6767.evil.example",
        "localhost:@evil.example",
        "localhost:",
        "localhost:6767:80",
        "localhost, evil.example",
        "me@localhost",
        "[localhost]",
        "[localhost]evil.example",
        "[::1]evil.example",
        "[::1]:evil",
        "[127.0.0.1]",
        "localhost\xa0",
    ],
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    """A web page whose name resolves to this machine is refused."""
    with pytest.raises(Refused) as caught:
        admit(AccessPolicy(), "GET", "/list", {"Host": host} if host else {})
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://127.0.0.1:6767"}, {"Origin": "null"}, {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_web_page_is_refused(headers: dict[str, str]) -> None:
    """Every request of a browser for a web page is refused, also on this machine."""
    for method, ordinary in (("GET", OWN), ("POST", POST)):
        with pytest.raises(Refused) as caught:
            admit(AccessPolicy(), method, "/health", {**ordinary, **headers})
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": "-1"}, 400),
        ({"Content-Length": "+2"}, 400),
        ({"Content-Length": "1_0"}, 400),
        ({"Content-Length": "٣"}, 400),
        ({"Content-Length": "02"}, 400),
        ({"Content-Length": "0" * 5000}, 400),
        ({"Content-Length": ""}, 400),
        ({"Content-Length": "2, 2"}, 400),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": str(MAX_BODY + 1)}, 413),
        ({"Content-Length": "999999999999"}, 413),
        ({"Content-Length": "9" * 5000}, 413),
    ],
)
def test_a_body_that_is_no_json_of_a_known_size_is_refused(headers: dict[str, str], status: int) -> None:
    """An HTML form, a body without a length and one that is too large are refused unread."""
    with pytest.raises(Refused) as caught:
        admit(AccessPolicy(), "POST", "/send", {**POST, **headers})
    assert caught.value.status == status


def test_a_get_with_a_body_is_refused() -> None:
    """Data after a request is never taken for another request."""
    for body in ({"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}):
        with pytest.raises(Refused):
            admit(AccessPolicy(), "GET", "/list", OWN, body)
    assert admit(AccessPolicy(), "GET", "/list", OWN, {"Content-Length": "0"}) == 0


def test_a_body_is_read_to_its_length() -> None:
    """JSON of a known length is read."""
    assert admit(AccessPolicy(), "POST", "/send", {**POST, "Content-Type": "Application/JSON; charset=utf-8"}) == 2


@pytest.mark.parametrize(
    "given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}, {"Authorization": "Bearer é"}]
)
def test_without_the_token_only_the_health_is_reported(given: dict[str, Any]) -> None:
    """Every route but /health requires the token."""
    policy = AccessPolicy(token="sesame")
    assert admit(policy, "GET", "/health", {**OWN, **given}) == 0
    for method, path, headers in (("GET", "/list", OWN), ("POST", "/health", POST)):
        with pytest.raises(Refused) as caught:
            admit(policy, method, path, {**headers, **given})
        assert caught.value.status == 401
    assert admit(policy, "GET", "/list", {**OWN, "Authorization": "Bearer sesame"}) == 0


@pytest.mark.parametrize(
    "more",
    [
        "Host: evil.example\r\n",
        "host: 127.0.0.1:6767\r\n",
        "Content-Length: 2\r\n",
        "AUTHORIZATION: Bearer sesame\r\nAuthorization: Bearer sesame\r\n",
        "Origin: http://a\r\nOrigin: http://b\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "junk\r\nOrigin: http://evil.example\r\n",
        " folded: line\r\n",
        "Origin : http://evil.example\r\n",
        "X: a\nOrigin: http://evil.example\r\n",
        "X: a\rOrigin: http://evil.example\r\n",
        "X: \0\r\n",
        ": nameless\r\n",
        "\r\nGET /list HTTP/1.1\r\n",
        "X: y\r\n" * 101,
        f"X: {'y' * 40_000}\r\n",
    ],
)
def test_an_ambiguous_head_is_refused(more: str) -> None:
    """A head that another program could read differently is refused, so that no rule can be evaded with one."""
    with pytest.raises(Refused) as caught:
        admit(AccessPolicy(), "POST", "/send", POST, more=more)
    assert caught.value.status in (400, 431)


@pytest.mark.parametrize(
    "line",
    [
        "GET http://[ HTTP/1.1",
        "GET http://localhost/list HTTP/1.1",
        "GET  /list HTTP/1.1",
        "GET /list HTTP/2",
        "GET /",
        "get /list HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /ü HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /#x HTTP/1.1",
        "",
    ],
)
def test_an_invalid_request_line_is_refused(line: str) -> None:
    """Only METHOD /PATH HTTP/1.1 is a request line."""
    with pytest.raises(Refused) as caught:
        parse_head(f"{line}\r\nHost: localhost\r\n\r\n".encode())
    assert caught.value.status == 400


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda more: b"GET / HTTP/1.1\r\n" + more + b"\r\n\r\n"))
def test_any_head_is_parsed_or_refused(data: bytes) -> None:
    """Whatever bytes arrive, they are a request or are refused, and what was parsed has no other reading."""
    try:
        head = parse_head(data)
    except Refused:
        return
    again = "".join(f"{name}: {value}\r\n" for name, value in head.headers.items())
    target = head.path + ("?" + head.query if head.query else "")
    assert parse_head(f"{head.method} {target} HTTP/1.1\r\n{again}\r\n".encode("latin-1")).headers == head.headers
