"""Many ask one session at once: each gets the reply to its own message."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.cli import AGENTS, both, create
from tests.support.forks import Forks
from tests.support.home import Home
from tests.support.killing import ran

#: What the messages are, each with a word of its own: answered at once, late, bit by bit, or after a tool.
SCRIPTS = ("say {}", "after 0.3 say {}", "drip 0.3 say {}", "run echo {}")
CROWD = 40
SEVERAL = "messages before it replied; "


def ask_at_once(forks: Forks, sid: str, words: list[str]) -> tuple[int, int]:
    """Ask all of it at once, and look who got what: how many replies answer several messages, and how many were to one
    message alone."""
    asks = [
        forks.start("ask", sid, SCRIPTS[number % len(SCRIPTS)].format(word), "--timeout", "120")
        for number, word in enumerate(words)
    ]
    replies = dict(zip(words, map(forks.wait, asks), strict=True))
    turns = json.loads(ran(forks.cli("logs", sid, "--json")))
    said = [turn["text"].removeprefix("ran: ") for turn in turns if turn["role"] == "assistant"]
    several = 0
    for word, reply in replies.items():
        assert reply.code == 0, reply
        printed = reply.stdout.removesuffix("\n").removeprefix("ran: ")
        several += SEVERAL in reply.stderr
        if SEVERAL in reply.stderr:
            assert printed in said
        else:
            assert (printed, reply.stderr) == (word, "")
        assert printed == word or word not in said, f"{word} was said, and {printed} printed"
    return several, len(words) - several


@both
def test_who_asks_gets_the_reply_to_his_own_message(home: Home, agent: str) -> None:
    """None of a dozen simultaneous asks gets the reply to another's message; a reply to several messages is marked as
    such."""
    sid = create(home, agent)
    with Forks(home) as forks:
        ran(forks.cli("ask", sid, "say ready"))
        ask_at_once(forks, sid, [f"word{number}" for number in range(8)])


@pytest.mark.soak
@pytest.mark.parametrize("agent", AGENTS)
def test_a_thousand_ask_in_crowds(home: Home, agent: str, capsys: pytest.CaptureFixture[str]) -> None:
    """None of a thousand asks, forty at a time, gets the reply to another's message."""
    sid = create(home, agent)
    several, alone, began = 0, 0, time.monotonic()
    with Forks(home) as forks:
        for crowd in range(1000 // CROWD):
            found = ask_at_once(forks, sid, [f"word{crowd}x{number}" for number in range(CROWD)])
            several, alone = several + found[0], alone + found[1]
    with capsys.disabled():
        took = time.monotonic() - began
        print(
            f"\n{agent}: {several + alone} asks in {took:.0f} s, 0 crossed; {several} replies answer several messages"
        )
