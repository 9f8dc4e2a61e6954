"""Many commands at once, and one that hangs while it has the store."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from dev_sessions.sessions.store import holder_of
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import READY_AT_ONCE, fake_claude
from tests.support.forks import Forks
from tests.support.home import Home
from tests.support.killing import claims, ran


@pytest.fixture
def forks(home: Home) -> Iterator[Forks]:
    """Provide the commands of a home with a Claude that does nothing."""
    with Forks(home, fake_claude(home, READY_AT_ONCE)) as forks:
        yield forks


def at_once(forks: Forks, commands: list[tuple[str, ...]]) -> list[str]:
    """Start them all, then wait for all: what each printed, in their order. None may fail."""
    began = time.monotonic()
    pids = [forks.start(*command) for command in commands]
    done = [forks.wait(pid) for pid in pids]
    print(f"{len(commands)} commands at once: {time.monotonic() - began:.1f} s")
    return [ran(each) for each in done]


@pytest.mark.parametrize("quarter", [5, pytest.param(25, marks=pytest.mark.soak)])
def test_many_commands_at_once(home: Home, forks: Forks, quarter: int) -> None:
    """Dozens of simultaneous commands all succeed: no name is given twice, no change is lost, each message arrives
    once, and one app-server runs."""
    agents = ["codex", "claude", "codex"] * quarter
    names = [name.strip() for name in at_once(forks, [("create", "-q", "--cli", agent) for agent in agents])]
    assert len(set(names)) == len(names)
    assert claims(home) == dict.fromkeys(names)
    # Some of each kind are killed, and some are asked.
    spoken, others = names[::3], names[1::3] + names[2::3]
    ended, asked = others[::2], others[1::2]
    commands: list[tuple[str, ...]] = []
    for number in range(quarter):
        commands += [
            ("create", "-q", "--cli", agents[number]),
            ("send", spoken[number], f"say {spoken[number]}"),
            ("kill", ended[number]),
            ("status", asked[number]),
        ]
    printed = at_once(forks, commands)
    added = {name.strip() for name in printed[::4]}
    assert len(added) == quarter
    assert claims(home) == dict.fromkeys((set(names) - set(ended)) | added), "a name that is free may be used again"
    assert set(printed[3::4]) == {"idle\n"}
    assert at_once(forks, [("wait", name) for name in spoken]) == ["completed\n"] * quarter
    for name, logs in zip(spoken, at_once(forks, [("logs", name, "--json") for name in spoken]), strict=True):
        assert [turn["text"] for turn in json.loads(logs)] == [f"say {name}", name]
    state = json.loads((home.path / ".dev-sessions" / "codex" / "state.json").read_text())
    servers = [pid for pid, line in home.leftovers().items() if "app-server" in line]
    assert {os.getpgid(pid) for pid in servers} == {state["pid"]}, "there is one, with its launcher"
    rows = json.loads(ran(forks.cli("list", "--json")))
    assert {row["championId"] for row in rows} == set(claims(home))
    assert ran(forks.cli("kill", "--all")).endswith(f"Killed {len(names)} sessions\n")
    assert claims(home) == {}
    assert poll(lambda: True if home.leftovers() == {} else None, Deadline(30), 0.1), home.leftovers()


@pytest.mark.soak
def test_a_crowd_with_the_real_claude(home: Home) -> None:
    """A dozen sessions are created, sent to and killed at once, and each message arrives once, at its own session."""
    with Forks(home) as forks:
        names = [name.strip() for name in at_once(forks, [("create", "-q")] * 12)]
        assert claims(home) == dict.fromkeys(names)
        printed = at_once(forks, [("ask", name, f"say {name} " + "and so on\n" * 100) for name in names])
        assert [said.split()[0] for said in printed] == names
        commands: list[tuple[str, ...]] = []
        for ended, spoken in zip(names[::2], names[1::2], strict=True):
            commands += [("create", "-q"), ("kill", ended), ("send", spoken, f"say {spoken} again")]
        added = [name.strip() for name in at_once(forks, commands)[::3]]
        assert claims(home) == dict.fromkeys([*names[1::2], *added])
        for name in names[1::2]:
            assert ran(forks.cli("wait", name)) == "completed\n"
            said = [turn["text"].split()[:2] for turn in json.loads(ran(forks.cli("logs", name, "--json")))]
            assert said == [["say", name], [name, "and"], ["say", name], [name, "again"]]
        ran(forks.cli("kill", "--all"))
        assert poll(lambda: True if home.leftovers() == {} else None, Deadline(20), 0.1), home.leftovers()


def test_a_command_that_hangs_while_it_has_the_store_is_named(home: Home, forks: Forks) -> None:
    """While a command hangs with the store locked, writers give up in time and name it, and readers are not delayed."""
    ran(forks.cli("create", "--id", "one", "--cli", "codex"))
    before = forks.cli("create", "--id", "two", "--cli", "codex")
    ran(before)
    place = before.points.index("open .sessions.json.N.N") + 1
    holder = forks.start("create", "--id", "three", "--cli", "codex", at=place, number=signal.SIGSTOP)
    noted = home.path / ".dev-sessions" / ".sessions.holder"
    assert poll(lambda: True if holder_of(noted) == holder else None, Deadline(30))
    writers = [("create", "--cli", "codex"), ("create",), ("send", "one", "say hello"), ("kill", "two")]
    soon = {"dev_sessions.sessions.store.LOCK_TIMEOUT": 2.0}
    waiting = [forks.start(*command, constants=soon) for command in writers]
    for reader in (["status", "one"], ["inspect", "one"], ["last-message", "one"], ["logs", "one"], ["list"]):
        ran(forks.cli(*reader))
    for pid in waiting:
        done = forks.wait(pid)
        assert done.code == 1
        assert f"has been locked for 2 s by process {holder}; try again, or end that process if it hangs" in done.stderr
    os.kill(holder, signal.SIGCONT)
    ran(forks.wait(holder))
    assert set(claims(home)) == {"one", "two", "three"}
    assert ran(forks.cli("ask", "one", "history")).strip() == "", "nothing was sent before"
    ran(forks.cli("kill", "two"))
    assert json.loads(ran(forks.cli("list", "--json")))[0]["championId"] == "one"
    ran(forks.cli("kill", "--all"))
