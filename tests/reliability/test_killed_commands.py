"""Kill commands at every point at which that makes a difference (`tests/support/points.py`).

Claude is a script of a few lines here, which only reports that it is ready, except where it gets messages;
`tests/real/test_orphans.py` shows what the real one leaves behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from dev_sessions.codex import client
from dev_sessions.sessions.store import Store
from dev_sessions.system.deadline import Deadline, poll
from tests.support.agents import pinned
from tests.support.claude import READY_AT_ONCE, fake_claude
from tests.support.cli import both
from tests.support.forks import Ended, Forks
from tests.support.home import Home
from tests.support.killing import (
    OTHER,
    SID,
    Cleanup,
    by_kill,
    by_list,
    claims,
    each_and_in_turn,
    in_turn,
    ran,
    sampled,
    walk,
)

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def forks(home: Home) -> Iterator[Forks]:
    """Provide the commands of a home with a Claude that does nothing."""
    with Forks(home, fake_claude(home, READY_AT_ONCE)) as forks:
        yield forks


def tmux_sessions(home: Home) -> set[str]:
    """Return the names of the home's tmux sessions."""
    return set(home.tmux("list-sessions", "-F", "#{session_name}").stdout.split())


def files(home: Home, pattern: str) -> list[str]:
    """Return the names of matching files in ~/.dev-sessions."""
    return [path.name for path in (home.path / ".dev-sessions").glob(pattern)]


def threads(home: Home) -> set[str]:
    """Return the threads that Codex has in memory without a session."""
    content = Store(home.path / ".dev-sessions" / "sessions.json").read()
    with client.connect(f"unix://{home.path}/.dev-sessions/codex/app-server.sock") as connection:
        loaded = set(connection.call("thread/loaded/list", {})["data"])
    return loaded - {session.internal_id for session in content.sessions.values()}


def problems(home: Home, forks: Forks) -> dict[str, str]:
    """Return doctor's warnings by the names of their checks, without the one that it always has here."""
    quick = home.workspace("quick")
    (quick / "codex").write_text(f"#!/bin/sh\necho codex-cli {pinned()['codex']}\n")
    (quick / "codex").chmod(0o755)
    done = forks.cli("doctor", "--json", env={"PATH": f"{home.path}/fake:{quick}:{home.env['PATH']}"})
    rows = json.loads(done.stdout)
    return {row["name"]: row["text"] for row in rows if row["verdict"] != "ok" and row["name"] != "skills"}


def is_gone(home: Home) -> None:
    """Assert that nothing is left of the session, nor of any half-written file."""
    assert SID not in claims(home)
    assert f"dev-{SID}" not in tmux_sessions(home)
    assert files(home, "launch/*") + files(home, "launch/.*") == []
    assert files(home, f"locks/{SID}.*") == []


def all_is_over(home: Home, forks: Forks) -> None:
    """Assert that doctor reports no problem, no thread lacks a session, and every process ends with the last
    session."""
    assert problems(home, forks) == {}
    assert not files(home, "codex/app-server.sock") or threads(home) == set()
    ran(forks.cli("kill", "--all"))
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()
    assert [name for name in files(home, ".*") if ".json." in name] == []


def by_create(forks: Forks, agent: str) -> None:
    """Use the name again at once."""
    again = forks.cli("create", "-q", "--id", SID, "--cli", agent)
    assert (again.code, again.stderr) in ((0, ""), (1, f"Champion ID already in use: {SID}\n"))
    assert ran(forks.cli("status", SID)) == "idle\n"
    ran(forks.cli("kill", SID))


@both
@each_and_in_turn(by_create, by_kill, by_list)
def test_a_killed_create_is_in_nobodys_way(
    home: Home, forks: Forks, agent: str, cleanups: Sequence[Cleanup], step: int
) -> None:
    """Wherever a create is killed, doctor names its leftovers, and the next create, kill or list removes them."""
    ran(forks.cli("create", "--id", OTHER, "--cli", agent))
    turn = in_turn(cleanups)
    for done in walk(forks, "create", "--id", SID, "--cli", agent, step=step):
        cleanup = turn(done)
        left = claims(home)
        assert left.pop(OTHER, "lost") is None
        assert f"dev-{SID}" not in tmux_sessions(home) or SID in left
        if cleanup == by_kill:
            reported = problems(home, forks)
            reported.pop("threads", None)
            if left.get(SID):
                assert reported.pop("sessions").startswith(f"{SID}: left by a create that was killed")
                reported.pop("launch", None)
            assert reported == {}
        cleanup(forks, agent)
        is_gone(home)
    all_is_over(home, forks)


def kill_in_each_kill(home: Home, forks: Forks, agent: str, step: int = 1) -> None:
    """Kill a kill at each of its points, and repeat it."""
    ran(forks.cli("create", "--id", OTHER, "--cli", agent))
    ran(forks.cli("create", "--id", SID, "--cli", agent))
    for _ in walk(forks, "kill", SID, step=step):
        assert claims(home).get(OTHER, "lost") is None
        by_kill(forks, agent)
        is_gone(home)
        ran(forks.cli("create", "--id", SID, "--cli", agent))
    all_is_over(home, forks)


@both
@sampled
def test_a_killed_kill_can_be_repeated(home: Home, forks: Forks, agent: str, step: int) -> None:
    """Wherever a kill is killed, the next one ends what is left, and the name is free again."""
    kill_in_each_kill(home, forks, agent, step)


def by_kill_all(forks: Forks, agent: str) -> None:
    """End all sessions."""
    del agent
    ran(forks.cli("kill", "--all"))


@pytest.mark.launcher
@each_and_in_turn(by_create, by_kill_all)
def test_an_app_server_is_started_and_stopped_once(
    home: Home, forks: Forks, cleanups: Sequence[Cleanup], step: int
) -> None:
    """Wherever the first create or the last kill is killed, the next command finds or starts the app-server, at most
    one runs, and kill --all ends it."""

    def servers() -> list[int]:
        return [pid for pid, line in home.leftovers().items() if "app-server" in line and "node" not in line]

    def cleaned_up(done: Ended) -> None:
        cleanup = turn(done)
        cleanup(forks, "codex")
        assert len(servers()) <= 1
        assert cleanup != by_kill_all or poll(lambda: True if servers() == [] else None, Deadline(30), 0.1)

    turn = in_turn(cleanups)
    # From where they come to the app-server; what is before that, the other walks show.
    for done in walk(forks, "create", "--id", SID, "--cli", "codex", start=13, step=step):
        if "request thread/start" in done.points:
            break  # from here on it is as with one that runs
        cleaned_up(done)
    ran(forks.cli("kill", "--all"))
    ran(forks.cli("create", "--id", SID, "--cli", "codex"))
    for done in walk(forks, "kill", SID, start=16, step=step):
        reported = problems(home, forks)
        assert reported == {} or "dev-sessions kill --all" in reported["app-server"]
        cleaned_up(done)
        ran(forks.cli("create", "--id", SID, "--cli", "codex"))
    all_is_over(home, forks)


@both
@sampled
def test_a_message_whose_send_was_killed_is_whole_or_not_sent(home: Home, agent: str, step: int) -> None:
    """Wherever a send is killed, logs shows whether the message was sent, it was sent once, and the next message
    arrives at once."""
    text = "say {} " + "and so on\n" * 1000
    typed = {"started tmux set-buffe", "started tmux paste-buffe", "sent turn/start"}
    with Forks(home) as forks:
        sid = ran(forks.cli("create", "-q", "--cli", agent)).strip()
        ran(forks.cli("ask", sid, "say a first"))
        whole = forks.cli("send", sid, text.format("whole"))
        ran(whole)
        ran(forks.cli("wait", sid))
        sent = ["say a first"]
        expected = [text.format("whole").strip()]
        doubtful: list[str] = []
        # Those at which the message goes, and the ones beside them, are in every sample.
        near = {at + side for at, name in enumerate(whole.points, 1) if name in typed for side in (-1, 0, 1)}
        for number in (at for at in count(1) if at % step == 0 or at in near):
            done = forks.cli("send", sid, text.format(f"m{number}"), at=number)
            print(f"{number:3} {done.points[-1]}")
            message = text.format(f"m{number}").strip()
            if done.points[-1] == "sent turn/start":
                # Of a connection that ends right behind its request Codex may take the request, or not.
                doubtful.append(message)
            elif typed & set(done.points):
                expected.append(message)
            asked = f"say a{number}"
            assert ran(forks.cli("ask", sid, asked)) == f"a{number}\n"
            sent.append(asked)
            if done.code == 0:
                break
            assert done.code == -9, done.stderr
        turns = json.loads(ran(forks.cli("logs", sid, "--json")))
        human = [turn["text"].strip() for turn in turns if turn["role"] == "human"]
        assert [said for said in human if said.startswith("say a")] == sent
        arrived = sorted(said for said in human if not said.startswith("say a"))
        assert arrived in (sorted(expected), sorted(expected + doubtful))
        assert len(doubtful) == (agent == "codex")
        ran(forks.cli("kill", sid))


def test_wait_after_a_killed_send_reports_the_newest_turn(home: Home) -> None:
    """After a killed send, wait reports the message's turn if it was sent, and the turn before otherwise."""
    with Forks(home) as forks:
        sid = ran(forks.cli("create", "-q", "--cli", "codex")).strip()
        assert ran(forks.cli("ask", sid, "say hello")) == "hello\n"
        points = forks.cli("send", sid, "say more").points
        sent = points.index("sent turn/start") + 1
        assert ran(forks.cli("wait", sid)) == "completed\n"
        failed = forks.cli("ask", sid, "fail 400")
        assert failed.code == 1
        assert forks.cli("send", sid, "say never", at=sent - 1).points[-1] == "request turn/start"
        again = forks.cli("wait", sid)
        assert (again.code, again.stderr) == (1, failed.stderr)
        done = forks.cli("send", sid, "say once", at=sent + 1)
        assert (done.code, done.points[-2:]) == (-9, points[sent - 1 : sent + 1])
        assert ran(forks.cli("wait", sid)) == "completed\n"
        assert ran(forks.cli("last-message", sid)) == "once\n"
        ran(forks.cli("kill", sid))


def by_recover(forks: Forks, agent: str) -> None:
    """Recover the session once more."""
    del agent
    done = forks.cli("recover", SID, "--yes")
    assert (done.code, done.stderr) == (0, "")
    assert ran(forks.cli("status", SID)) == "idle\n"


def kill_in_each_recover(
    home: Home, forks: Forks, agent: str, cleanups: Sequence[Cleanup], step: int = 1, *, speaks: bool = False
) -> None:
    """Kill a recover at its points, and clean up after it. A session that `speaks` goes on with its conversation."""

    def lose() -> None:
        if agent == "claude":
            home.tmux("kill-session", "-t", f"=dev-{SID}")
            assert poll(lambda: forks.cli("status", SID).code or None, Deadline(30), 0.02)
        else:
            # All of them: the one that a killed recover has started may serve without being on file.
            for pid in servers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            assert poll(lambda: None if servers() else True, Deadline(30), 0.02)

    def servers() -> list[int]:
        return [pid for pid, line in home.leftovers().items() if "app-server" in line]

    def again() -> None:
        ran(forks.cli("create", "--id", SID, "--cli", agent))
        if speaks:
            assert ran(forks.cli("ask", SID, "say before")) == "before\n"
        lose()

    turn = in_turn(cleanups)
    ran(forks.cli("create", "--id", OTHER, "--cli", agent))
    again()
    for done in walk(forks, "recover", SID, "--yes", step=step):
        cleanup = turn(done)
        if agent == "claude" and cleanup == by_recover:
            reported = problems(home, forks)
            assert SID in "".join(reported.values()) or forks.cli("status", SID).code == 0
        cleanup(forks, agent)
        if cleanup == by_recover:
            assert len([name for name in tmux_sessions(home) if name == f"dev-{SID}"]) == (agent == "claude")
            assert not speaks or ran(forks.cli("ask", SID, "history")).startswith("1: say before\n")
            lose()
        else:
            is_gone(home)
            again()
    ran(forks.cli("kill", SID))
    is_gone(home)
    if agent == "claude":
        all_is_over(home, forks)


@both
@each_and_in_turn(by_recover, by_kill)
def test_a_killed_recover_is_in_nobodys_way(
    home: Home, forks: Forks, agent: str, cleanups: Sequence[Cleanup], step: int
) -> None:
    """Wherever a recover is killed, the next one brings the session back, once, and kill ends it."""
    kill_in_each_recover(home, forks, agent, cleanups, step)


def conversations(home: Home) -> set[str]:
    """Return the names of the files in which the agents have conversations."""
    folders = (home.path / ".claude" / "projects", home.path / ".codex" / "sessions")
    return {path.name for folder in folders for path in folder.rglob("*") if path.is_file()}


@both
@sampled
def test_a_killed_fork_leaves_no_conversation(home: Home, forks: Forks, agent: str, step: int) -> None:
    """Wherever a fork is killed, the next list removes what it has copied, and the forked session is as it was."""
    ran(forks.cli("create", "--id", OTHER, "--cli", agent))
    if agent == "claude":
        (record,) = json.loads((home.path / ".dev-sessions" / "sessions.json").read_text())["sessions"]
        said = home.workspace(".claude/projects/-work") / f"{record['internalId']}.jsonl"
        said.write_bytes((DATA / "claude" / "2.1.330-plain-turn.jsonl").read_bytes())
    else:
        ran(forks.cli("ask", OTHER, "say one"))
    before, logs = conversations(home), ran(forks.cli("logs", OTHER))
    # Nothing is copied before the claim is in the store.
    for _ in walk(forks, "fork", OTHER, "--id", SID, start=20, step=step):
        if SID in claims(home) and claims(home)[SID] is None:
            ran(forks.cli("kill", SID))
            before = conversations(home)
        ran(forks.cli("list"))
        is_gone(home)
        assert conversations(home) == before
    assert ran(forks.cli("logs", SID)) == ran(forks.cli("logs", OTHER)) == logs
    ran(forks.cli("kill", SID))
    all_is_over(home, forks)


@pytest.mark.soak
def test_a_killed_create_of_the_real_claude_is_in_nobodys_way(home: Home) -> None:
    """Wherever a create of the real Claude is killed, the next create removes its leftovers, and kill ends that
    session."""
    with Forks(home) as forks:
        for _ in walk(forks, "create", "--id", SID):
            by_create(forks, "claude")
            is_gone(home)


@pytest.mark.soak
def test_a_killed_kill_of_the_real_claude_can_be_repeated(home: Home) -> None:
    """Wherever a kill of the real Claude is killed, the next one ends what is left, and the name is free again."""
    with Forks(home) as forks:
        kill_in_each_kill(home, forks, "claude")


@pytest.mark.soak
@pytest.mark.parametrize("cleanup", [by_recover, by_kill], ids=lambda cleanup: cleanup.__name__)
def test_a_killed_recover_of_the_real_claude_is_in_nobodys_way(home: Home, cleanup: Cleanup) -> None:
    """Wherever a recover of the real Claude is killed, the next one brings the session back once with its conversation,
    and kill ends it."""
    with Forks(home) as forks:
        kill_in_each_recover(home, forks, "claude", [cleanup], speaks=True)
