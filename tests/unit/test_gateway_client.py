"""The gateway's client: paths on the host, and gateways that are older or fail."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from dev_sessions.errors import InvalidRequest, WaitTimedOut
from dev_sessions.gateway import client
from dev_sessions.gateway.client import GatewayClient, host_path
from dev_sessions.gateway.connection import GatewayFailed
from dev_sessions.operations import Kill, List, Send, Wait


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a container's workspace, /Users/me/project on its host, with the current directory in it."""
    workspace = tmp_path / "workspace"
    (workspace / "src").mkdir(parents=True)
    monkeypatch.setenv("CONTAINER_WORKSPACE", str(workspace))
    monkeypatch.setenv("HOST_PATH", "/Users/me/project")
    monkeypatch.chdir(workspace / "src")
    return workspace


def test_a_path_in_the_workspace_is_the_hosts(workspace: Path) -> None:
    """A path in the workspace is translated to the host."""
    assert host_path(str(workspace)) == "/Users/me/project"
    assert host_path(f"{workspace}/") == "/Users/me/project"
    assert host_path(str(workspace / "src" / "new")) == "/Users/me/project/src/new"
    assert host_path(".") == "/Users/me/project/src"
    assert host_path("..") == "/Users/me/project"
    assert host_path(str(workspace / "src" / ".." / "a b")) == "/Users/me/project/a b"


def test_another_path_stays_as_it_is(workspace: Path, tmp_path: Path) -> None:
    """A path outside the workspace is passed unchanged."""
    assert host_path("/opt/project") == "/opt/project"
    assert host_path(f"{workspace}-2") == f"{workspace}-2"
    (tmp_path / "link").symlink_to("/opt")
    assert host_path(str(tmp_path / "link")) == str(tmp_path / "link")


def test_a_path_that_climbs_out_is_not_the_hosts_project(workspace: Path) -> None:
    """Neither .. nor a link leads from the workspace to another folder of the host."""
    assert host_path(str(workspace / ".." / "other")) == str(workspace.parent / "other")
    assert host_path("../../other") == str(workspace.parent / "other")
    (workspace / "out").symlink_to("/opt")
    assert host_path(str(workspace / "out" / "x")) == "/opt/x"
    (workspace / "in").symlink_to(workspace / "src")
    assert host_path(str(workspace / "in" / "x")) == "/Users/me/project/src/x"


def test_a_workspace_that_is_a_link_is_the_workspace(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONTAINER_WORKSPACE may be a link to the workspace."""
    (tmp_path / "link").symlink_to(workspace)
    monkeypatch.setenv("CONTAINER_WORKSPACE", str(tmp_path / "link"))
    assert host_path(str(workspace / "src")) == "/Users/me/project/src"
    assert host_path(str(tmp_path / "link" / "src")) == "/Users/me/project/src"


@pytest.mark.usefixtures("workspace")
def test_without_a_path_it_is_here_or_the_whole_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --path, the current directory is used if it is in the workspace, otherwise the workspace."""
    assert host_path(None) == "/Users/me/project/src"
    monkeypatch.chdir("/")
    assert host_path(None) == "/Users/me/project"


def test_a_workspace_without_a_name_on_the_host_is_an_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without HOST_PATH, a path in the workspace is an error."""
    monkeypatch.delenv("HOST_PATH")
    with pytest.raises(InvalidRequest) as caught:
        host_path(str(workspace))
    assert str(caught.value) == (
        f"HOST_PATH is required when running in sandbox mode with {workspace} paths (received {workspace})"
    )
    assert host_path("/opt") == "/opt"
    monkeypatch.chdir("/")
    with pytest.raises(InvalidRequest, match=r"HOST_PATH is required"):
        host_path(None)


@pytest.mark.parametrize("url", ["", "host:6767", "ftp://host", "http://", "http://host:port", "https://host"])
def test_an_invalid_address_is_reported(url: str) -> None:
    """An invalid DEV_SESSIONS_GATEWAY_URL is an error that quotes it."""
    with pytest.raises(InvalidRequest, match=r"DEV_SESSIONS_GATEWAY_URL is .*; it has to be http://"):
        GatewayClient(url, None, print).execute(List())


def test_a_missing_gateway_is_reported_with_its_address(tmp_path: Path) -> None:
    """A gateway that cannot be reached is an error with its address, for a port and for a socket."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        starts = {url: "--port <port>", f"unix://{tmp_path}/none.sock": f"--socket {tmp_path}/none.sock"}
        for address, how in starts.items():
            with pytest.raises(GatewayFailed) as caught:
                GatewayClient(address, None, print).execute(Send(session_id="a", message="m"))
            line = str(caught.value)
            assert line.startswith(f"Gateway request failed for {address}/send (")
            assert line.endswith(
                f"; nothing was typed). Is the gateway running? Start it with: dev-sessions gateway {how}"
            )


def test_a_lost_connection_does_not_say_that_nothing_happened() -> None:
    """If the gateway dies during a send, the error says that the message may have arrived; a read has no such doubt."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.recv(100)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        gateway = GatewayClient(f"http://127.0.0.1:{server.getsockname()[1]}", None, print)
        with pytest.raises(
            GatewayFailed, match=r"; it may have arrived, .* dev-sessions logs a\)\. Is the gateway run"
        ):
            gateway.execute(Send(session_id="a", message="m"))
        with pytest.raises(GatewayFailed, match=r"It is not known whether it was executed\. Is the gateway running"):
            gateway.execute(Kill(session_id="a"))
        with pytest.raises(GatewayFailed) as caught:
            gateway.execute(List())
        assert "not known" not in str(caught.value)
        assert "arrived" not in str(caught.value)
        thread.join()


def test_a_wait_for_a_gateway_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait ends soon after its timeout if the gateway takes the connection and says nothing."""
    monkeypatch.setattr(client, "MARGIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = GatewayClient(f"http://127.0.0.1:{silent.getsockname()[1]}", None, print)
        with pytest.raises(
            WaitTimedOut, match=r"^Timed out waiting for fizz-top, and http.* does not answer; wait again$"
        ):
            gateway.execute(Wait(session_id="fizz-top", timeout=0.1))
