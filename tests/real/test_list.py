"""`list` and `list --watch` over real sessions."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.models import timestamp
from dev_sessions.system.deadline import Deadline
from tests.support.claude import create_stand_in
from tests.support.cli import both, create, ok, records
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.person import Person

pytestmark = pytest.mark.forked

#: Of `status --json` and `list --json`, as the README describes them.
ALWAYS = {"state", "lastActivity", "tokens"}
WATCH = (sys.executable, "-m", "dev_sessions", "list", "--watch")


def test_a_list_reports_the_turn_of_each_session(home: Home) -> None:
    """Each row shows the current state of its session, whatever the agent."""
    idle, busy, asks = create(home, "codex"), create(home, "codex"), create(home, "claude")
    ok(home.cli("send", busy, "when never say late"))
    home.cli("ask", asks, "ask Which? | red | blue")
    states = {session_id: record["state"] for session_id, record in records(home).items()}
    assert states == {idle: "idle", busy: "working", asks: "waiting_for_input"}
    rows = {line.split()[0]: line.split()[4] for line in ok(home.cli("list")).splitlines()[1:]}
    assert rows == states


@both
def test_the_details_of_a_session(home: Home, agent: str) -> None:
    """--json reports the time of the last activity and the length of the conversation, once there is one."""
    sid = create(home, agent)
    fresh = json.loads(ok(home.cli("status", sid, "--json")))
    assert not {"lastActivity", "tokens", "tokensTotal", "worktree"} & fresh.keys()
    assert agent == "claude" or "since" not in fresh, "nothing has happened yet"
    began = timestamp(time.time())
    ok(home.cli("ask", sid, "say hello"))
    first = json.loads(ok(home.cli("status", sid, "--json")))
    assert first.keys() == ALWAYS | {"since"} | ({"tokensTotal", "contextWindow"} if agent == "codex" else set())
    assert first.get("contextWindow", 10**6) > first["tokens"]
    assert began <= first["lastActivity"] <= timestamp(time.time())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["lastActivity"])
    ok(home.cli("ask", sid, "say " + "more and more " * 100))
    second = json.loads(ok(home.cli("status", sid, "--json")))
    assert second["lastActivity"] > first["lastActivity"]
    assert second["tokens"] > first["tokens"] > 0
    if agent == "codex":
        assert second["tokensTotal"] == first["tokensTotal"] + second["tokens"]
        ok(home.cli("goal", sid, "work 1 turns"))
        ok(home.cli("wait", sid, "--goal"))
        second = json.loads(ok(home.cli("status", sid, "--json")))
        assert second["goal"] == json.loads(ok(home.cli("goal", sid, "--json")))
    (row,) = records(home).values()
    assert second.items() <= row.items()


def test_a_session_with_a_worktree_says_so(home: Home) -> None:
    """status --json names the worktree of a session, as its record does."""
    repository = home.workspace()
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        ok(home.run("git", *words, cwd=repository))
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree", cwd=repository)).strip()
    folder = json.loads(ok(home.cli("status", sid, "--json")))["worktree"]
    assert folder == records(home)[sid]["worktree"]
    assert Path(folder).is_dir()
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_person_watches_until_ctrl_c(home: Home, model: ScriptedModel) -> None:
    """On a terminal the rows are redrawn in place with the state, its duration, and what the session asks or said last;
    the last table stays."""
    sid = create(home, "claude", "--description", "the first task")
    ok(home.cli("ask", sid, "say hello there"))
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 160))  # wide enough for the description beside the longest id
    shown = _Shown(leader)
    with ended(subprocess.Popen(WATCH, stdin=follower, stdout=follower, stderr=follower, env=home.env)) as child:
        os.close(follower)
        assert shown.waits_for("hello there")
        assert shown.waits_for("idle")
        assert shown.waits_for("the first task")
        ok(home.cli("send", sid, "when told say \x1b[31mred\x07 alert"))
        assert shown.waits_for("working")
        working = shown.text.rpartition("working")[2].partition("\x1b[K")[0]
        assert "hello there" not in working, "nothing old is shown for a session that works"
        model.allow("told")
        assert shown.waits_for("alert")
        ok(home.cli("send", sid, "ask Which colour? | red | blue"))
        assert shown.waits_for("Which colour? 1. red")
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 0
    assert shown.waits_for("\x1b[?1049l")
    assert "Which colour?" in shown.text.rpartition("\x1b[?1049l")[2]
    assert "\x1b[31m" not in shown.text, "what an agent says moves nothing on the screen"
    os.close(leader)


def test_a_watch_in_a_pipe_prints_once(home: Home) -> None:
    """In a pipe, list --watch prints the table as plain text and ends."""
    assert ok(home.cli("list", "--watch")) == "No active sessions\n"
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say hello there"))
    header, row = ok(home.cli("list", "--watch")).splitlines()
    assert header.endswith("ASKS OR SAID LAST")
    assert row.split()[:4] == [sid, "codex", "-", "idle"]
    assert row.endswith("hello there")


def test_a_list_at_a_terminal_is_a_line_for_each(home: Home) -> None:
    """At 80 columns, a session that waits is one line, too, and list --watch has room for its question."""
    home.workspace("a/rather/deep/folder/with/a/long/name")
    description = "a long description of a task, with many more words"
    create_stand_in(home)
    sid = create(home, "claude", "--description", description)
    home.cli("ask", sid, "ask Which? | red | blue")
    with Person(home, columns=80) as person:
        person.types("clear; dev-sessions list", "Enter")
        assert person.sees("waiting")
        table = person.screen().partition("ID ")[2].splitlines()
        assert [line.split()[1] for line in table[1:3]] == ["claude", "claude"]
        assert "ago" in table[1]
        assert "ago" in table[2]
        person.types("clear; dev-sessions list --watch", "Enter")
        assert person.sees("Which? 1. red - The")


@contextlib.contextmanager
def ended(child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, and end it after the block, whatever happens in it."""
    try:
        yield child
    finally:
        child.kill()
        child.wait()


class _Shown:
    """The output of a program on its terminal."""

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self.text = ""

    def waits_for(self, text: str) -> bool:
        """Return whether a text is in the output, or gets there in time."""
        deadline = Deadline(20)
        os.set_blocking(self._leader, False)
        while text not in self.text and not deadline.expired:
            try:
                self.text += os.read(self._leader, 65536).decode(errors="replace")
            except BlockingIOError:
                deadline.pause(0.05)
            except OSError:
                break
        return text in self.text
