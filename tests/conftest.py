"""The fixtures that all tests share: one scripted model, and a home of its own for each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# On a busy machine an example may take longer than the 0.2 s that it has otherwise.
settings.register_profile("busy machine", deadline=2000)
settings.load_profile("busy machine")
# Before they are imported: assertions in them show their values, as those in test files do.
pytest.register_assert_rewrite("tests.support")

from tests.support.forks import ForkServer
from tests.support.home import Home
from tests.support.model import ScriptedModel

# A shell starts what runs in the background with Ctrl-C ignored, and `nohup` with SIGHUP: every process of the tests
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def model() -> Iterator[ScriptedModel]:
    """Provide the model behind every home."""
    with ScriptedModel() as model:
        yield model


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Provide the process that forks the commands of tests that are marked `forked`."""
    with ForkServer() as server:
        yield server


def _runner(request: pytest.FixtureRequest) -> ForkServer | None:
    """Return a runner for marked tests: a command costs them 30 ms in place of 100, which halves their time."""
    if request.node.get_closest_marker("forked") is None:
        return None
    server: ForkServer = request.getfixturevalue("fork_server")
    return server


def _has_launcher(request: pytest.FixtureRequest) -> bool:
    """Return whether Codex has npm's launcher: in tests that are about the processes of its server."""
    return request.node.get_closest_marker("launcher") is not None


@pytest.fixture
def home(model: ScriptedModel, request: pytest.FixtureRequest) -> Iterator[Home]:
    """Provide a home with both agents ready, and assert that no process of it is left after the test."""
    model.forget()
    model.hold()
    with Home(model.port, launcher=_has_launcher(request)) as home:
        home.runner = _runner(request)
        yield home
    assert home.leftovers() == {}
    assert not home.path.exists()


@pytest.fixture(scope="module")
def _home_of_module(model: ScriptedModel, request: pytest.FixtureRequest) -> Iterator[Home]:
    with Home(model.port, launcher=_has_launcher(request)) as home:
        home.runner = _runner(request)
        yield home
    assert home.leftovers() == {}


@pytest.fixture
def shared_home(_home_of_module: Home, model: ScriptedModel) -> Home:
    """Provide a home for the tests of a file that do not disturb each other: an agent's start takes a second."""
    model.forget()
    model.hold()
    return _home_of_module
