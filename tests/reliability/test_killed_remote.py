"""`create --host`, killed at each point. What its ssh has begun goes on over there, as it does on a real host.

In the place of ssh stands a program that runs the command in a second home: the way there is shown by
`tests/real/test_remote.py`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.forks import Forks
from tests.support.home import Home
from tests.support.killing import OTHER, SID, Cleanup, by_kill, claims, each_and_in_turn, in_turn, ran, walk
from tests.support.model import ScriptedModel

CREATE = ("create", "-q", "--id", SID, "--cli", "codex", "--host", "box")


@pytest.fixture
def far(home: Home, model: ScriptedModel) -> Iterator[Home]:
    """Provide the user's home on the other machine, in which a session keeps the app-server running."""
    with Home(model.port) as far:
        settings = " ".join(shlex.quote(f"{name}={value}") for name, value in far.env.items())
        program = home.workspace("fake") / "ssh"
        program.write_text(
            f'#!/bin/sh\nfor last; do :; done\ncd {far.workspace()} && exec env -i {settings} sh -c "$last"\n'
        )
        program.chmod(0o755)
        assert far.cli("create", "--id", OTHER, "--cli", "codex").returncode == 0
        yield far


@pytest.fixture
def forks(home: Home) -> Iterator[Forks]:
    """Provide the commands of the local home, for which `far` is every host."""
    with Forks(home, {"PATH": f"{home.workspace('fake')}:{home.env['PATH']}"}) as forks:
        yield forks


def by_create_there(forks: Forks, agent: str) -> None:
    """Use the name again at once, on that host."""
    del agent
    again = forks.cli(*CREATE)
    assert (again.code, again.stderr) in ((0, ""), (1, f"Champion ID already in use: {SID}\n"))
    assert ran(forks.cli("status", SID)) == "idle\n"
    ran(forks.cli("kill", SID))


def by_list_all(forks: Forks, agent: str) -> None:
    """Find the session in `list --all`, if it is there, and kill it."""
    del agent
    if SID in {record["championId"] for record in json.loads(ran(forks.cli("list", "--all", "--json")))}:
        ran(forks.cli("kill", SID))


@each_and_in_turn(by_create_there, by_kill, by_list_all)
def test_a_killed_create_on_another_machine_is_in_nobodys_way(
    home: Home, far: Home, forks: Forks, cleanups: Sequence[Cleanup], step: int
) -> None:
    """Wherever a create on a host is killed, no session unknown here stays there, and its name can be used again."""

    def it_ended() -> bool | None:
        lines = [*home.leftovers().values(), *far.leftovers().values()]
        return None if any("dev-sessions create" in line for line in lines) else True

    turn = in_turn(cleanups)
    # A command over there is a process of its own each time: at every point only in the long run.
    for done in walk(forks, *CREATE, step=step):
        # Twice: in the middle of an exec a process shows no environment.
        assert poll(it_ended, Deadline(20), 0.02)
        assert poll(it_ended, Deadline(20), 0.02)
        assert SID not in claims(far) or SID in claims(home)
        turn(done)(forks, "codex")
        assert SID not in claims(home)
        assert claims(far) == {OTHER: None}
    ran(forks.cli("kill", SID))
    assert claims(far) == {OTHER: None}
