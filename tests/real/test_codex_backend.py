"""The Codex backend on the real Codex, with a scripted model behind it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.attempt import Attempt
from dev_sessions.codex import client as client_module
from dev_sessions.codex.app_server import AppServer
from dev_sessions.codex.app_server_state import ServerState
from dev_sessions.codex.backend import CodexBackend
from dev_sessions.codex.client import Client, ConnectionLost, NoAnswer, NotListening
from dev_sessions.errors import ProtocolError, WaitTimedOut
from dev_sessions.models import CodexSession, LogTurn, Outcome, Receipt, SessionState, State
from dev_sessions.system import paths
from dev_sessions.system.deadline import Deadline, poll
from tests.support.home import Home
from tests.support.signals import stop_group

pytestmark = pytest.mark.launcher


class Talk:
    """A session whose record is kept up to date, as the session manager does."""

    def __init__(self, backend: CodexBackend, path: Path, **fields: Any) -> None:
        self.backend = backend
        self.session = CodexSession(
            id="fizz-top", internal_id="", path=str(path), created_at="", last_used="", **fields
        )

    def start(self) -> Talk:
        """Start its thread."""
        self._note(self.backend.start(self.session))
        return self

    def send(self, text: str) -> Receipt:
        """Send a message."""
        message = self.backend.prepare(self.session, text)
        self._note(message.changes)
        sent = message.send(self.session, Attempt(), Deadline(30))
        self._note(sent.changes)
        return sent.receipt

    def wait(self, seconds: float = 30) -> Outcome:
        """Wait for the turn's end."""
        return self.backend.wait(self.session, Deadline(seconds), None)

    def ask(self, text: str) -> list[str]:
        """Send a message and return the reply."""
        self.send(text)
        assert self.wait() == Outcome("completed")
        return self.reply()

    def reply(self) -> list[str]:
        """Return the reply to the last message."""
        outcome, answer = self.backend.answer(self.session, Deadline(30))
        assert outcome == Outcome("completed")
        return list(answer.texts)

    def state(self) -> State:
        """Return its state."""
        state = self.backend.states([self.session])[self.session.id]
        assert isinstance(state, SessionState)
        return state.state

    def _note(self, changes: Mapping[str, Any]) -> None:
        self.session = replace(self.session, **changes)


@contextlib.contextmanager
def living_in(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodexBackend]:
    """Yield the backend of the user with this home, and stop the app-server in the end."""
    for name in [name for name in os.environ if not name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    for name, value in home.env.items():
        monkeypatch.setenv(name, value)
    backend = CodexBackend()
    yield backend
    backend.release(list)


@pytest.fixture
def backend(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[CodexBackend]:
    """Yield the backend of a user with an empty home."""
    with living_in(home, monkeypatch) as backend:
        yield backend


@pytest.fixture
def talk(backend: CodexBackend, home: Home) -> Talk:
    """Return a session whose thread was just started."""
    return Talk(backend, home.workspace()).start()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record every method that is called from here on."""
    called: list[str] = []
    original = Client.call

    def call(self: Client, method: str, *args: Any, **options: Any) -> Any:
        called.append(method)
        return original(self, method, *args, **options)

    monkeypatch.setattr(Client, "call", call)
    return called


def server_state() -> ServerState:
    """Return the state file of the app-server."""
    state = AppServer(paths.codex_dir()).state()
    assert state is not None
    return state


def kill_app_server() -> None:
    """Kill the app-server as a crash does, and wait until it is gone."""
    leader = server_state().pid
    os.killpg(leader, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(leader, 0)
    gone = poll(lambda: None if group_lives(leader) else True, Deadline(30))
    assert gone


def group_lives(leader: int) -> bool:
    """Return whether a process group has members."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def app_servers(home: Home) -> list[str]:
    """Return the command lines of the running native app-servers."""
    return [line for line in home.leftovers().values() if "app-server" in line and not line.startswith("node")]


def test_a_message_is_sent_and_answered(talk: Talk) -> None:
    """A message is delivered, its turn ends, and the reply can be read."""
    assert talk.state() == "idle"
    assert talk.send("say hello").state == "submitted"
    assert talk.wait() == Outcome("completed")
    assert talk.reply() == ["hello"]
    assert talk.backend.last_messages(talk.session, 3) == ["hello"]
    assert talk.backend.logs(talk.session) == [LogTurn("human", "say hello"), LogTurn("assistant", "hello")]
    assert talk.backend.has_conversation(talk.session)
    assert talk.state() == "idle"


def test_a_fresh_session_has_said_nothing(talk: Talk) -> None:
    """Reading a fresh session returns nothing, and waiting for it ends at once."""
    assert talk.backend.last_messages(talk.session, 1) == []
    assert talk.backend.logs(talk.session) == []
    assert talk.reply() == []
    assert talk.wait() == Outcome("completed")
    assert not talk.backend.has_conversation(talk.session)


def test_a_session_remembers_what_was_said(talk: Talk) -> None:
    """Every message continues the same conversation."""
    assert talk.ask("say one") == ["one"]
    assert talk.ask("say two") == ["two"]
    assert talk.ask("history") == ["1: say one\n2: say two"]
    assert talk.backend.last_messages(talk.session, 2) == ["two", "1: say one\n2: say two"]


def test_a_message_to_a_working_session_goes_into_its_turn(talk: Talk) -> None:
    """A message to a working session gets a receipt with the running turn, and the reply is to the later message."""
    first = talk.send("run until test -e go; do sleep 0.05; done; echo slept")
    assert talk.state() == "working"
    second = talk.send("say steered")
    Path(talk.session.path, "go").touch()
    assert (second.state, second.turn_id) == ("steered", first.turn_id)
    assert talk.wait() == Outcome("completed")
    assert talk.reply() == ["steered"]


def test_a_failed_turn_is_reported_with_its_reason_each_time(talk: Talk) -> None:
    """A second wait reports a failed turn again, and the next message works."""
    talk.send("fail 400")
    assert talk.wait() == Outcome("failed", "scripted failure 400", "invalid_request")
    assert talk.wait() == Outcome("failed", "scripted failure 400", "invalid_request")
    assert talk.state() == "idle"
    assert talk.ask("say better") == ["better"]


def test_the_reason_of_a_failure_is_known_as_soon_as_the_failure(talk: Talk) -> None:
    """None of twenty failures is reported without its reason, although the status changes first."""
    for _ in range(20):
        talk.send("fail 400")
        assert talk.wait() == Outcome("failed", "scripted failure 400", "invalid_request")


def test_the_end_of_a_limit_is_known_as_soon_as_the_failure(talk: Talk) -> None:
    """None of ten turns that met a usage limit is reported without the time at which that ends."""
    for _ in range(10):
        talk.send("fail limit 3600")
        found = talk.wait()
        assert found.reason == "usage_limit"
        assert found.resets_at is not None


def test_a_wait_that_takes_too_long_changes_nothing(talk: Talk) -> None:
    """A wait that times out can be run again."""
    talk.send("run sleep 1; echo slept")
    with pytest.raises(WaitTimedOut, match=r"^Timed out waiting for fizz-top$"):
        talk.wait(0.2)
    assert talk.wait() == Outcome("completed")
    assert talk.reply() == ["ran: slept"]


def test_a_wait_does_not_poll(talk: Talk, calls: list[str]) -> None:
    """A wait reads the thread before and after it changes, and does not poll."""
    talk.send("run sleep 1; echo slept")
    calls.clear()
    assert talk.wait() == Outcome("completed")
    assert calls == ["initialize", "thread/read", "thread/read", "thread/goal/get", "thread/turns/list"]


def test_a_crash_of_the_app_server_between_commands_does_no_harm(talk: Talk) -> None:
    """After a crash of the app-server the next message starts another one and continues the conversation."""
    talk.ask("say one")
    kill_app_server()
    assert talk.state() == "idle"
    assert talk.wait() == Outcome("completed")
    assert talk.backend.last_messages(talk.session, 1) == ["one"]
    kill_app_server()
    assert talk.ask("history") == ["1: say one"]


def test_a_crash_of_the_app_server_ends_a_wait_at_once(talk: Talk, calls: list[str]) -> None:
    """Every wait reports the turn of a crashed app-server as interrupted, and nothing of it runs again."""
    talk.send("hang")
    killer = threading.Timer(0.5, kill_app_server)
    calls.clear()
    killer.start()
    outcome = talk.wait()
    killer.join()
    assert outcome.status == "interrupted"
    assert "the app-server ended while the turn ran" in str(outcome.error)
    assert talk.wait() == outcome
    after_the_crash = calls[calls.index("initialize", 1) :]
    assert "thread/resume" not in after_the_crash
    assert talk.ask("say again") == ["again"]


def test_a_session_that_never_had_a_message_survives_its_app_server(talk: Talk) -> None:
    """A session without a message silently gets a new thread after a crash, since its old one existed only in
    memory."""
    first = talk.session.internal_id
    kill_app_server()
    assert talk.state() == "idle"
    assert talk.ask("say hello") == ["hello"]
    assert talk.session.internal_id != first
    assert talk.state() == "idle"


def test_many_sessions_share_one_app_server(home: Home, backend: CodexBackend) -> None:
    """Ten sessions that are created at the same time start exactly one app-server."""
    code = (
        "from dev_sessions.codex.backend import CodexBackend\n"
        "from dev_sessions.models import CodexSession\n"
        "s = CodexSession(id='x', internal_id='', path='.', created_at='', last_used='')\n"
        "print(CodexBackend().start(s)['internal_id'])"
    )
    children = [home.popen(sys.executable, "-c", code) for _ in range(10)]
    outputs = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 10, outputs
    threads = {printed.strip() for printed, _ in outputs}
    assert len(threads) == 10
    assert len(app_servers(home)) == 1
    sessions = [
        CodexSession(id=thread, internal_id=thread, path=".", created_at="", last_used="") for thread in threads
    ]
    states = {thread: getattr(state, "state", state) for thread, state in backend.states(sessions).items()}
    assert states == dict.fromkeys(threads, "idle")


def test_the_last_session_takes_the_app_server_with_it(talk: Talk, home: Home) -> None:
    """The app-server runs as long as a session is left, ends with the last one, and leaves no state file."""
    talk.ask("say hello")
    talk.backend.release(lambda: [talk.session])
    assert len(app_servers(home)) == 1
    talk.send("run sleep 30; echo slept")
    talk.backend.stop(talk.session)
    begin = time.monotonic()
    talk.backend.release(list)
    assert time.monotonic() - begin < 2
    assert home.leftovers() == {}
    assert {file.name for file in paths.codex_dir().iterdir()} == {"app-server.log", "start.lock"}


def test_ending_a_session_ends_its_turn(talk: Talk) -> None:
    """A session can be ended twice, or without an app-server, which is not started for that."""
    talk.send("run sleep 30; echo slept")
    talk.backend.stop(talk.session)
    assert talk.state() == "idle"
    talk.backend.stop(talk.session)
    kill_app_server()
    talk.backend.stop(talk.session)
    assert not group_lives(server_state().pid)


def test_a_process_with_the_reused_pid_of_a_dead_app_server_lives_on(talk: Talk) -> None:
    """A process that got the pid of an ended app-server is not ended."""
    talk.ask("say one")
    kill_app_server()
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        file = paths.codex_dir() / "state.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "pid": stranger.pid}))
        assert talk.ask("history") == ["1: say one"]
        talk.backend.release(list)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_app_server_without_its_state_file_is_found_again(talk: Talk, home: Home) -> None:
    """An app-server without its state file is found by its socket, and can be stopped."""
    talk.ask("say one")
    (paths.codex_dir() / "state.json").write_text("garbage")
    assert talk.ask("history") == ["1: say one"]
    assert len(app_servers(home)) == 1
    talk.backend.release(list)
    poll(lambda: None if home.leftovers() else True, Deadline(30))
    assert home.leftovers() == {}


def test_a_launcher_that_is_killed_leaves_a_server_that_is_still_ours(talk: Talk, home: Home) -> None:
    """The server of a killed launcher is used, and ended with the last session."""
    launchers = [pid for pid, line in home.leftovers().items() if line.startswith("node")]
    for launcher in launchers:
        os.kill(launcher, signal.SIGKILL)
    assert talk.ask("say hello") == ["hello"]
    talk.backend.release(list)
    assert len(app_servers(home)) == 0


@pytest.mark.parametrize("number", ["CONT", "9"])
def test_an_app_server_that_is_stopped_is_named_with_what_to_do(talk: Talk, number: str) -> None:
    """The advice in the error about a stopped app-server works: the conversation continues."""
    talk.ask("say one")
    stop_group(server_state().pid)
    with pytest.raises(ProtocolError, match="is stopped") as caught:
        talk.state()
    advice = re.search(rf"kill -{number} -- (-?\d+)", str(caught.value))
    assert advice
    subprocess.run(["kill", f"-{number}", "--", advice[1]], check=True)
    os.killpg(server_state().pid, signal.SIGCONT)
    assert talk.ask("history") == ["1: say one"]


@pytest.mark.usefixtures("talk")
def test_a_large_message_to_an_app_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sending is given up when the kernel's buffers are full and nobody reads."""
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT", 1)
    group = server_state().pid
    with AppServer(paths.codex_dir()).connect() as found:
        stop_group(group)
        begin = time.monotonic()
        try:
            with pytest.raises((ConnectionLost, NoAnswer)):
                found.call("thread/read", {"threadId": "x" * 3_000_000}, timeout=1)
            assert time.monotonic() - begin < 5
        finally:
            os.killpg(group, signal.SIGCONT)


def test_a_home_too_deep_for_a_socket_gets_a_port_with_a_token(
    home: Home, backend: CodexBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the token, which is in no command line, nobody can connect to the port of an app-server."""
    deep = home.workspace("deep/" + "er/" * 30)
    monkeypatch.setenv("HOME", str(deep))
    monkeypatch.setenv("CODEX_HOME", str(home.path / ".codex"))
    talk = Talk(CodexBackend(), home.workspace()).start()
    try:
        assert talk.ask("say hello") == ["hello"]
        state = server_state()
        assert state.address.startswith("ws://127.0.0.1:")
        assert state.codex_home == str(home.path / ".codex")
        token_file = Path(str(state.token_file))
        assert token_file.stat().st_mode & 0o777 == 0o600
        token = token_file.read_text()
        assert not [line for line in home.leftovers().values() if token in line]
        for wrong in (None, "wrong"):
            with pytest.raises(NotListening, match="401"), client_module.connect(state.address, wrong):
                pass
    finally:
        talk.backend.release(list)
    assert home.leftovers() == {}
    assert not token_file.exists()
    assert backend.states([]) == {}


def test_a_session_of_the_original_goes_on(home: Home, backend: CodexBackend) -> None:
    """A session of 0.4 is served by its own app-server as long as that runs, and by the new one afterwards."""
    original = home.popen("codex", "app-server", "--listen", "ws://127.0.0.1:0")
    assert original.stderr
    port = next(int(found[1]) for line in original.stderr if (found := re.search(r"ws://127\.0\.0\.1:(\d+)", line)))
    file = paths.legacy_appserver_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    url = f"ws://127.0.0.1:{port}"
    file.write_text(json.dumps({"version": 1, "pid": original.pid, "port": port, "url": url, "startedAt": "x"}))
    talk = Talk(backend, home.workspace(), app_server_pid=original.pid, app_server_port=port)
    with client_module.connect(url) as connection:
        thread = connection.call("thread/start", {"cwd": str(home.workspace()), "approvalPolicy": "never"})["thread"]
    talk.session = replace(talk.session, internal_id=thread["id"])
    assert talk.ask("say one") == ["one"]
    assert talk.state() == "idle"
    assert not paths.codex_dir().exists()
    original.terminate()
    original.wait(30)
    assert talk.ask("history") == ["1: say one"]
    assert server_state().pid != original.pid
