"""Fixtures of the unit tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dev_sessions.system import process
from tests.support.scripted_app_server import NO_GOAL, Script, Serve, app_server, save_state


@pytest.fixture
def own_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run git without the configuration of the user who runs the tests, or of a hook in which they run."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the app-server's directory in an empty home, with only the system's programs on PATH."""
    home = tmp_path_factory.mktemp("h")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home}/bin:/usr/bin:/bin")
    monkeypatch.delenv("CODEX_HOME", raising=False)
    return home / ".dev-sessions" / "codex"


@pytest.fixture
def serve(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Put a scripted app-server in the place of the real one; gives what it is asked. It has no goals of itself."""
    # It runs in this very process, which must not be ended in its stead.
    monkeypatch.setattr(process, "terminate", lambda pid, *_, **__: pytest.fail(f"process {pid} ended"))
    directory.mkdir(parents=True)
    save_state(directory, pid=os.getpid(), started=process.start_time(os.getpid()) or "", address="unix")
    with ExitStack() as stack:

        def serve(script: Script, silent_about: str = "") -> list[str]:
            server = app_server(directory / "app-server.sock", {**NO_GOAL, **script}, silent_about)
            return stack.enter_context(server)

        yield serve
