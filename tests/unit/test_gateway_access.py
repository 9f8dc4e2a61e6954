"""Access control of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dev_sessions.gateway.access import MAX_BODY, AccessPolicy, Refused

OWN = {"Host": "127.0.0.1:6767"}
POST = {**OWN, "Content-Type": "application/json", "Content-Length": "2"}


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
    assert AccessPolicy(names=["my-mac.local"]).admit("GET", "/list", {"Host": host}) == 0


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_headers_may_be_written_as_the_client_likes(change: Callable[[str], str]) -> None:
    """Header names are read in any case."""

    def written(headers: dict[str, str]) -> dict[str, str]:
        return {change(name): value for name, value in headers.items()}

    policy = AccessPolicy(token="sesame")
    entitled = {**POST, "Authorization": "Bearer sesame"}
    assert policy.admit("POST", "/send", written(entitled)) == 2
    for more in ({"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}, {"Transfer-Encoding": "chunked"}):
        with pytest.raises(Refused):
            policy.admit("POST", "/send", written({**entitled, **more}))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example:6767", "127.0.0.1.evil.example", "[", "0x7f"]
)
def test_a_name_that_is_not_ours_is_refused(host: str) -> None:
    """A web page whose name resolves to this machine is refused."""
    with pytest.raises(Refused) as caught:
        AccessPolicy().admit("GET", "/list", {"Host": host} if host else {})
    assert caught.value.status == 403


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://127.0.0.1:6767"}, {"Origin": "null"}, {"Origin": ""}, {"Sec-Fetch-Site": "cross-site"}],
)
def test_a_web_page_is_refused(headers: dict[str, str]) -> None:
    """Every request of a browser for a web page is refused, also on this machine."""
    for method, ordinary in (("GET", OWN), ("POST", POST)):
        with pytest.raises(Refused) as caught:
            AccessPolicy().admit(method, "/health", {**ordinary, **headers})
        assert caught.value.status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Length": "-1"}, 411),
        ({"Content-Length": "1_0"}, 411),
        ({"Content-Length": "٣"}, 411),
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": str(MAX_BODY + 1)}, 413),
        ({"Content-Length": "9" * 5000}, 413),
    ],
)
def test_a_body_that_is_no_json_of_a_known_size_is_refused(headers: dict[str, str], status: int) -> None:
    """An HTML form, a body without a length and one that is too large are refused unread."""
    with pytest.raises(Refused) as caught:
        AccessPolicy().admit("POST", "/send", {**POST, **headers})
    assert caught.value.status == status


def test_a_get_with_a_body_is_refused() -> None:
    """Data after a request is never taken for another request."""
    with pytest.raises(Refused):
        AccessPolicy().admit("GET", "/list", {**OWN, "Content-Length": "5"})


def test_a_body_is_read_to_its_length() -> None:
    """JSON of a known length is read."""
    assert AccessPolicy().admit("POST", "/send", {**POST, "Content-Type": "Application/JSON; charset=utf-8"}) == 2


@pytest.mark.parametrize(
    "given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}, {"Authorization": "Bearer é"}]
)
def test_without_the_token_only_the_health_is_reported(given: dict[str, Any]) -> None:
    """Every route but /health requires the token."""
    policy = AccessPolicy(token="sesame")
    assert policy.admit("GET", "/health", {**OWN, **given}) == 0
    with pytest.raises(Refused) as caught:
        policy.admit("GET", "/list", {**OWN, **given})
    assert caught.value.status == 401
    assert policy.admit("GET", "/list", {**OWN, "Authorization": "Bearer sesame"}) == 0
