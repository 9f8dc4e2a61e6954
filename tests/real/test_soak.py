"""Tests that take many minutes: a thousand messages in a row, and long idleness. Run: `tests/run -m soak -s`."""

from __future__ import annotations

import json
import statistics
import time

import pytest

from tests.support.cli import AGENTS, create, ok
from tests.support.home import Home

ASKS = 1000


@pytest.mark.soak
@pytest.mark.parametrize("agent", AGENTS)
def test_a_thousand_asks(home: Home, agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every one of a thousand asks in a row gets the reply to its own message, and every message arrives once."""
    sid = create(home, agent)
    seconds = []
    for number in range(ASKS):
        began = time.monotonic()
        assert ok(home.cli("ask", sid, f"say answer {number}")) == f"answer {number}\n"
        seconds.append(time.monotonic() - began)
    turns = json.loads(ok(home.cli("logs", sid, "--json", timeout=120)))
    assert [turn["text"] for turn in turns if turn["role"] == "human"] == [f"say answer {n}" for n in range(ASKS)]
    assert [turn["text"] for turn in turns if turn["role"] == "assistant"] == [f"answer {n}" for n in range(ASKS)]
    with capsys.disabled():
        first, last = statistics.median(seconds[:100]), statistics.median(seconds[-100:])
        print(f"\n{agent}: {ASKS} asks, 0 lost, 0 doubled, 0 crossed; median {statistics.median(seconds):.2f} s,")
        print(f"slowest {max(seconds):.2f} s, first hundred {first:.2f} s, last hundred {last:.2f} s")


@pytest.mark.soak
@pytest.mark.parametrize("agent", AGENTS)
def test_a_session_waits_for_its_first_message(home: Home, agent: str) -> None:
    """However long nobody sends anything, a session stays listed and idle, and takes its first message.

    Codex 0.169 drops a thread that has none after a minute.
    """
    sid = create(home, agent)
    time.sleep(75)
    assert ok(home.cli("status", sid)) == "idle\n"
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (0, "completed\n")
    assert done.stderr == f"Warning: no message has been sent to {sid} yet; completed means only that it is idle\n"
    assert sid in ok(home.cli("list"))
    assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
