"""Turns of Codex: steered, failed, interrupted, cut off by a crash, and of any size."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress

import pytest

from dev_sessions.codex.thread import Thread
from dev_sessions.system import file_locks
from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import create, ok
from tests.support.codex import (
    SLACK,
    VERSION,
    assert_still_running,
    assert_turn_failed,
    assert_turn_interrupted,
    await_idle,
    begin_wait,
    crash,
    daemon,
    last_message,
    receipt,
    session_of,
)
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(home: Home) -> str:
    """Create a session of Codex."""
    return create(home, "codex")


def runs(home: Home, command: str) -> bool:
    """Return whether a process of the home has this in its command line."""
    return any(command in line for line in home.leftovers().values())


def await_written(home: Home, words: str) -> None:
    """Wait until words are in a file of a conversation, so that a crash does not lose them."""
    files = (home.path / ".codex" / "sessions").rglob
    assert poll(lambda: any(words in file.read_text() for file in files("*.jsonl")) or None, Deadline(30))


def test_messages_during_a_turn_steer_it(home: Home, sid: str) -> None:
    """Messages during a turn get receipts with that turn, and one wait ends with it, after the last reply."""
    slow = "run until test -e go; do sleep 0.05; done; echo slept"
    first = receipt(home, sid, slow)
    assert first["state"] == "submitted"
    # Sooner, Codex takes the first call back and asks its model anew (0.169), who answers the second message alone.
    assert poll(lambda: runs(home, "until test -e go") or None, Deadline(30))
    for text in ("say second", "say third"):
        assert receipt(home, sid, text) == {"state": "steered", "turnId": first["turnId"]}
    (home.workspace() / "go").touch()
    begin = time.monotonic()
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert time.monotonic() - begin < SLACK
    assert last_message(home, sid) == "third"
    assert ok(home.cli("wait", sid)) == "completed\n"
    said = [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json"))) if turn["role"] == "human"]
    assert said == [slow, "say second", "say third"]


def test_asks_that_steer_a_turn_say_that_one_reply_answers_all(home: Home, sid: str) -> None:
    """An ask whose turn takes in another message before it has answered says so, and so does the other one; an ask that
    comes after the answer has its own."""
    script = "until test -e go; do sleep 0.05; done; echo slept"
    asks = [home.popen("dev-sessions", "ask", sid, f"run {script}")]

    def runs_in_a_shell() -> bool | None:
        return any(script in line and "dev-sessions" not in line for line in home.leftovers().values()) or None

    assert poll(runs_in_a_shell, Deadline(30))
    asks.append(home.popen("dev-sessions", "ask", sid, "say second"))
    record = home.path / ".dev-sessions" / "sessions.json"
    first = json.loads(record.read_text())["sessions"][0]["codexSendId"]

    def second_is_sent() -> bool | None:
        found = json.loads(record.read_text())["sessions"][0]
        return (found["codexSendId"] != first and "codexActiveTurnId" in found) or None

    assert poll(second_is_sent, Deadline(30))
    (home.workspace() / "go").touch()
    warning = f"Warning: {sid} read 2 messages before it replied; the reply answers all of them, and may not"
    for ask in asks:
        reply, said = ask.communicate(timeout=60)
        assert (reply, said) == ("second\n", f"{warning} mention yours\n")
    assert ok(home.cli("ask", sid, "say third")) == "third\n"


def test_a_wait_that_began_before_a_message_ends_after_its_reply(home: Home, sid: str) -> None:
    """A wait ends after all messages that steered its turn."""
    ok(home.cli("send", sid, "run until test -e go; do sleep 0.05; done; echo slept"))
    wait = begin_wait(home, sid)
    assert poll(lambda: runs(home, "until test -e go") or None, Deadline(30))
    assert receipt(home, sid, "after 1 say steered")["state"] == "steered"
    (home.workspace() / "go").touch()
    assert wait.communicate(timeout=30) == ("completed\n", "")
    assert last_message(home, sid) == "steered"


def test_a_session_is_never_idle_before_its_turn_has_ended(home: Home, model: ScriptedModel, sid: str) -> None:
    """The status is working from the return of send until the reply."""
    looks = 0
    for number in range(6):
        # The first takes as long as a hundred looks.
        text = f"after 0.3 say {number}" if number else "when told say 0"
        ok(home.cli("send", sid, text))
        with daemon(home).connect_if_running() as client:
            assert client is not None
            thread = Thread(client, session_of(home, sid))
            while (status := thread.status()) is not None and status.kind == "active":
                looks += 1
                if looks > 100:
                    model.allow("told")
            newest = next(thread.turns("full"))
        assert [item.text for item in newest.items] == [text, str(number)]
    assert looks > 100


@pytest.mark.skipif(VERSION < (0, 169), reason="this version has no setting for it")
def test_a_thread_that_codex_has_unloaded(home: Home) -> None:
    """A session whose thread Codex has unloaded, as it does after half an hour of silence, is read as it was, and the
    next message loads it with all that was said."""
    config = home.path / ".codex" / "config.toml"
    config.write_text(f"thread_unload_delay_secs = 5\n{config.read_text()}")
    sid = create(home, "codex")
    assert ok(home.cli("ask", sid, "say one")) == "one\n"

    def is_unloaded() -> bool | None:
        with daemon(home).connect() as client:
            status = Thread(client, session_of(home, sid)).status()
        return (status is not None and status.kind == "notLoaded") or None

    for number, text in enumerate(("one", "two")):
        assert poll(is_unloaded, Deadline(60), 0.5)
        assert ok(home.cli("status", sid)) == "idle\n"
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert last_message(home, sid) == text
        assert home.cli("interrupt", sid).stderr == f"{sid} is idle; there is nothing to interrupt\n"
        assert f"[ASSISTANT]\n{text}\n" in ok(home.cli("logs", sid))
        assert is_unloaded(), "reading loads nothing"
        if number == 0:
            ok(home.cli("send", sid, "say two"))
            assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say one\n2: say two\n"


def test_the_status_is_working_as_soon_as_send_returns(home: Home, model: ScriptedModel, sid: str) -> None:
    """Five times in a row, the status after a send is working."""
    for number in range(5):
        ok(home.cli("send", sid, f"when told{number} say {number}"))
        assert ok(home.cli("status", sid)) == "working\n"
        model.allow(f"told{number}")
        assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_failure_is_reported_to_later_waits(home: Home, sid: str) -> None:
    """Every later wait reports a failed turn with its reason, until the next turn."""
    ok(home.cli("send", sid, "fail 400"))
    await_idle(home, sid)
    for _ in range(2):
        assert_turn_failed(home, sid, "invalid_request: scripted failure 400")
    assert ok(home.cli("ask", sid, "say fine")) == "fine\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_failure_that_is_waited_for_has_its_reason_for_ever(home: Home, sid: str) -> None:
    """Every wait reports the reason of a failed turn."""
    ok(home.cli("send", sid, "run sleep 2; echo slept"))
    ok(home.cli("send", sid, "fail 400"))
    for _ in range(2):
        assert_turn_failed(home, sid, "invalid_request: scripted failure 400")


def test_a_crash_during_a_wait_ends_it(home: Home, sid: str) -> None:
    """A crash ends a wait within seconds; then the session is idle and continues its conversation."""
    ok(home.cli("ask", sid, "say one"))
    ok(home.cli("send", sid, "hang"))
    wait = begin_wait(home, sid)
    await_written(home, '"hang"')
    crash(home)
    begin = time.monotonic()
    output, error = wait.communicate(timeout=30)
    assert time.monotonic() - begin < 2 + SLACK / 2
    assert (wait.returncode, output) == (1, "")
    assert error.startswith(f"The turn of {sid} was interrupted: died: the app-server ended while the turn ran")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say one\n2: hang\n"


def test_a_crash_between_commands_is_reported(home: Home, sid: str) -> None:
    """Every wait reports a crash between commands; the session is idle and continues its conversation."""
    ok(home.cli("ask", sid, "say one"))
    ok(home.cli("send", sid, "hang"))
    await_written(home, '"hang"')
    crash(home)
    assert_turn_interrupted(home, sid, "died: the app-server ended while the turn ran")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert last_message(home, sid) == "one"
    assert ok(home.cli("ask", sid, "history")) == "1: say one\n2: hang\n"
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_what_a_crashed_app_server_said_last_is_kept(home: Home, sid: str) -> None:
    """The log of a crashed app-server is kept beside the next one's."""
    log = home.path / ".dev-sessions" / "codex" / "app-server.log"
    with open(log, "a") as stream:
        stream.write("thread 'main' panicked\n")
    crash(home)
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
    assert "thread 'main' panicked\n" in log.with_name("app-server.log.1").read_text()
    assert "panicked" not in log.read_text()


def test_a_log_that_has_grown_large_is_cut(home: Home, sid: str) -> None:
    """The log is cut while its app-server keeps writing to it."""
    log = home.path / ".dev-sessions" / "codex" / "app-server.log"
    with open(log, "ab") as stream:
        stream.write(b"x" * 11_000_000 + b"the end\n")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert log.stat().st_size == 0
    kept = log.with_name("app-server.log.1").read_bytes()
    assert len(kept) == 1_000_000
    assert kept.endswith(b"xthe end\n")
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"


def test_nothing_was_said_before_the_first_message(home: Home, sid: str) -> None:
    """Reading commands print nothing, and no error, before the first message."""
    assert ok(home.cli("last-message", sid)) == ""
    assert ok(home.cli("last-message", sid, "-n", "3", "--json")) == "[]\n"
    assert ok(home.cli("logs", sid)) == "No conversation history available\n"
    assert ok(home.cli("logs", sid, "--json")) == "[]\n"
    assert home.cli("wait", sid).stdout == "completed\n"
    assert json.loads(ok(home.cli("status", sid, "--json")))["state"] == "idle"
    assert ok(home.cli("ask", sid, "history")) == "\n"


def test_a_reply_of_over_a_megabyte_is_read_whole(home: Home, sid: str) -> None:
    """ask, last-message and logs return all of a reply of over a megabyte."""
    reply = ok(home.cli("ask", sid, "size 1500000"))
    assert len(reply) == 1_500_001
    assert reply.endswith("END\n")
    assert last_message(home, sid) == reply[:-1]
    assert json.loads(ok(home.cli("logs", sid, "--json")))[-1]["text"] == reply[:-1]


def test_a_message_of_a_million_characters_arrives_whole(home: Home, sid: str, model: ScriptedModel) -> None:
    """A message of a million characters arrives whole, and one above Codex's limit is refused before it is sent."""
    text = "say " + "0123456789" * 99_999 + "theEND"
    assert len(text) == 1_000_000
    (home.path / "message").write_text(text)
    assert ok(home.cli("ask", sid, "--file", home.path / "message")) == text.removeprefix("say ") + "\n"
    assert model.last_text() == text
    done = home.cli("send", sid, "--file", "-", stdin="x" * 1_048_577)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has 1048577 characters and Codex takes 1048576" in done.stderr
    assert len(model.turns()) == 1


def test_a_running_tool_is_interrupted(home: Home, sid: str) -> None:
    """An interrupt ends the process of a running tool, every wait reports it, and the session can be used."""
    ok(home.cli("send", sid, "run touch begun; sleep 300; touch ended"))
    assert poll(lambda: True if (home.workspace() / "begun").exists() else None, Deadline(30))
    begin = time.monotonic()
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    assert time.monotonic() - begin < SLACK
    assert ok(home.cli("status", sid)) == "idle\n"
    assert_turn_interrupted(home, sid)
    assert poll(lambda: None if runs(home, "sleep 300") else True, Deadline(30))
    assert ok(home.cli("ask", sid, "say more")) == "more\n"
    assert ok(home.cli("wait", sid)) == "completed\n"


@pytest.mark.parametrize(
    "text",
    [
        *("hang", "drip 60 say a long story with many words"),
        pytest.param("after 60 say late", marks=pytest.mark.matrix),
    ],
)
def test_a_text_in_the_making_is_interrupted(home: Home, sid: str, text: str) -> None:
    """An interrupt during a reply ends a running wait, and the session can be used."""
    ok(home.cli("send", sid, text))
    wait = home.popen("dev-sessions", "wait", sid)
    assert_still_running(wait, 0.5)
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    output, error = wait.communicate(timeout=30)
    assert (wait.returncode, output) == (1, "")
    assert error.startswith(f"The turn of {sid} was interrupted")
    assert ok(home.cli("ask", sid, "say more")) == "more\n"


def test_a_turn_that_began_this_moment_is_interrupted(home: Home, sid: str) -> None:
    """An interrupt right after send, ten times in a row, interrupts the turn."""
    for _ in range(10):
        ok(home.cli("send", sid, "hang"))
        assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
        assert ok(home.cli("status", sid)) == "idle\n"


def test_there_is_nothing_to_interrupt_in_an_idle_session(home: Home, sid: str) -> None:
    """An interrupt before the first turn, after one, after an interrupt or after a crash is an error."""
    refused = (1, "", f"{sid} is idle; there is nothing to interrupt\n")

    def refuses() -> None:
        done = home.cli("interrupt", sid, "--timeout", "30")
        assert (done.returncode, done.stdout, done.stderr) == refused

    refuses()
    ok(home.cli("ask", sid, "say hello"))
    refuses()
    ok(home.cli("send", sid, "hang"))
    ok(home.cli("interrupt", sid))
    refuses()
    crash(home)
    refuses()


def test_the_workspace_is_where_tools_run_after_a_crash(home: Home, sid: str) -> None:
    """A thread that is loaded again after a crash has its directory and its full access."""
    ok(home.cli("ask", sid, "say hello"))
    crash(home)
    outside = home.path / "outside"
    assert ok(home.cli("ask", sid, f"run pwd; touch {outside}")) == f"ran: {home.workspace()}\n"
    assert outside.exists()


def test_a_thread_that_is_open_in_another_codex(home: Home) -> None:
    """If a person has resumed the thread while the app-server did not run, send says which process has it, and works
    once that has ended as the error says; the thread can be read all the time."""
    config = home.path / ".codex" / "config.toml"
    trusted = [f'[projects."{path}"]\ntrust_level = "trusted"\n' for path in (home.path, home.workspace())]
    config.write_text("\n".join([config.read_text(), *trusted]))
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say before"))
    crash(home)
    thread_id = session_of(home, sid).internal_id
    window = ("-s", "by-hand", "-x", "160", "-y", "50", "-c", home.workspace())
    ok(home.tmux("new-session", "-d", *window, f"codex resume {thread_id}"))
    lock = home.path / ".codex" / "thread-writer-locks" / f"{thread_id}.lock"
    assert poll(lambda: (lock.exists() and file_locks.is_held(lock)) or None, Deadline(30), 0.1)
    done = home.cli("send", sid, "say lost")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"was not sent, nothing was typed: {sid} is open in another Codex" in done.stderr
    assert last_message(home, sid) == "before"
    ok(home.tmux("kill-session", "-t", "=by-hand"))
    if (advice := re.search(r"end that process: kill (\d+)", done.stderr)) is not None:
        with suppress(ProcessLookupError):
            os.kill(int(advice[1]), signal.SIGTERM)
    assert poll(lambda: None if file_locks.is_held(lock) else True, Deadline(30), 0.1)
    assert ok(home.cli("ask", sid, "history")) == "1: say before\n"
