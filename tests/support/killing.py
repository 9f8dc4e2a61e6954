"""Kill a command at one point after another, and clean up after it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TypeAlias

import pytest

from dev_sessions.sessions.store import Store
from tests.support.forks import Ended, Forks
from tests.support.home import Home

#: The session on which the commands are killed, and one that has nothing to do with it.
SID, OTHER = "fizz-top", "other"
#: What a user does after a command was killed.
Cleanup: TypeAlias = Callable[[Forks, str], None]


def walk(forks: Forks, *args: str, start: int = 1, step: int = 1) -> Iterator[Ended]:
    """Run a command again and again, killed at its first point, at its second, and so on, until one gets to its end."""
    for times, number in enumerate(count(start, step)):
        done = forks.cli(*args, at=number)
        if done.code == 0:
            print(f"{' '.join(args)}: killed at {times} points")
            return
        # What a failing test shows last is the point at which it was.
        print(f"{number:3} {done.points[-1] if done.points else ''}")
        assert done.code == -9, done.stderr
        yield done


def ran(done: Ended) -> str:
    """Assert that a command succeeded, and return what it printed. It may warn of a reply to several messages."""
    assert (done.code, done.stderr.partition(" read ")[0].count("\n")) == (0, 0), done
    assert not done.stderr or " messages before it replied" in done.stderr, done
    return done.stdout


def claims(home: Home) -> dict[str, str | None]:
    """Return the claim of each session in the store, which is None once `create` has ended. No record is damaged."""
    content = Store(home.path / ".dev-sessions" / "sessions.json").read()
    assert content.unreadable == []
    return {session.id: session.claimed_by for session in content.sessions.values()}


#: Every so many points of a walk in the ordinary suite, all of them with `-m soak`.
SAMPLE = 5
sampled = pytest.mark.parametrize(
    "step", [pytest.param(SAMPLE, id="sample"), pytest.param(1, id="all", marks=pytest.mark.soak)]
)


def in_turn(cleanups: Sequence[Cleanup]) -> Callable[[Ended], Cleanup]:
    """Return a function that chooses the cleanup for a point: they alternate among the points of a kind."""
    met: Counter[str] = Counter()

    def cleanup(done: Ended) -> Cleanup:
        kind = done.points[-1].split()[0]
        met[kind] += 1
        return cleanups[met[kind] % len(cleanups)]

    return cleanup


def each_and_in_turn(*cleanups: Cleanup) -> pytest.MarkDecorator:
    """Parametrize a walk: all cleanups in turn at some of the points, and with `-m soak` each of them at every one."""
    alone = [pytest.param([cleanup], 1, id=cleanup.__name__, marks=pytest.mark.soak) for cleanup in cleanups]
    return pytest.mark.parametrize(("cleanups", "step"), [pytest.param(cleanups, SAMPLE, id="in_turn"), *alone])


def by_kill(forks: Forks, agent: str) -> None:
    """Kill the session by its name."""
    del agent
    done = forks.cli("kill", SID)
    assert (done.code, done.stderr) in ((0, ""), (1, f"Session not found: {SID} (see: dev-sessions list)\n"))


def by_list(forks: Forks, agent: str) -> None:
    """List the sessions, and kill the session if it is there."""
    del agent
    if SID in {record["championId"] for record in json.loads(ran(forks.cli("list", "--json")))}:
        assert ran(forks.cli("status", SID)) == "idle\n"
        ran(forks.cli("kill", SID))
