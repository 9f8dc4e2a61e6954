"""Operations and their command lines."""

from __future__ import annotations

import io
import sys
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_sessions import operations
from dev_sessions.cli import run
from dev_sessions.cli.app import Application
from dev_sessions.models import (
    CodexSession,
    Goal,
    KillReport,
    Listing,
    LogTurn,
    Receipt,
    RecoverReport,
    RecoverRow,
    Reply,
    SessionStatus,
    WaitResult,
)
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    GetGoal,
    Inspect,
    Interrupt,
    Kill,
    KillMany,
    LastMessage,
    List,
    Logs,
    Operation,
    Recover,
    Respond,
    Send,
    SetGoal,
    Status,
    Wait,
)
from dev_sessions.remote import command_line

R = TypeVar("R")

SESSION = CodexSession(id="fizz-top", internal_id="t", path="/w", created_at="2026-01-01", last_used="2026-01-01")
RESULTS: dict[type[Operation[Any]], object] = {
    Create: SESSION,
    Send: Receipt("submitted"),
    Ask: Reply("text", "completed"),
    Wait: WaitResult("completed", 5),
    GetGoal: Goal("t", "work", "active"),
    SetGoal: Goal("t", "work", "active"),
    ClearGoal: True,
    LastMessage: ["text"],
    Status: SessionStatus("idle"),
    Respond: None,
    Interrupt: None,
    List: Listing((), 0),
    Kill: KillReport(("fizz-top",)),
    KillMany: KillReport(()),
    Recover: RecoverReport((RecoverRow("fizz-top", "wake it", done=True),)),
    Logs: [LogTurn("human", "text")],
    Inspect: {"championId": "fizz-top"},
}

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
texts = words.filter(lambda text: text.strip())
ids = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
seconds = st.integers(1, 10**5).map(float) | st.sampled_from([0.5, 1.25, 1e-3])
tokens = st.integers(1, 10**9)
OPERATIONS: dict[type[Operation[Any]], st.SearchStrategy[Operation[Any]]] = {
    Create: st.builds(
        Create,
        path=st.none() | words,
        host=st.none() | words,
        cli=st.sampled_from(["claude", "codex"]),
        mode=st.sampled_from(["native", "docker"]),
        description=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        model=st.none() | words,
        id=st.none() | ids,
        # The command line takes what starts with a dash for an option, as git does for a branch that can't be.
        worktree=st.none() | st.just("") | words.filter(lambda name: not name.startswith("-")),
    ),
    Send: st.builds(Send, session_id=ids, message=texts, receipt=st.booleans(), discard_draft=st.booleans()),
    Respond: st.one_of(
        st.builds(Respond, session_id=ids, answers=st.lists(words, min_size=1, max_size=3).map(tuple)),
        st.builds(Respond, session_id=ids, allow=st.booleans()),
    ),
    Interrupt: st.builds(Interrupt, session_id=ids, timeout=seconds),
    Ask: st.builds(Ask, session_id=ids, message=texts, timeout=seconds),
    Wait: st.one_of(
        st.builds(Wait, session_id=ids, timeout=seconds, interval=st.none() | seconds, goal=st.booleans()),
        st.builds(Wait, session_id=ids, timeout=seconds, next_turn=st.just(True)),
    ),
    GetGoal: st.builds(GetGoal, session_id=ids),
    SetGoal: st.one_of(
        st.builds(SetGoal, session_id=ids, objective=texts.map(str.strip), token_budget=st.none() | tokens),
        st.builds(
            SetGoal, session_id=ids, status=st.sampled_from(["active", "paused"]), token_budget=st.none() | tokens
        ),
        st.builds(SetGoal, session_id=ids, token_budget=tokens),
    ),
    ClearGoal: st.builds(ClearGoal, session_id=ids),
    LastMessage: st.builds(LastMessage, session_id=ids, count=st.integers(1, 10**6)),
    Status: st.builds(Status, session_id=ids, detail=st.booleans()),
    List: st.builds(List, everything=st.booleans(), detail=st.just(True)),
    Kill: st.builds(Kill, session_id=ids),
    KillMany: st.builds(KillMany, older_than=st.none() | st.sampled_from(["30m", "72h", "7d"])),
    Recover: st.one_of(
        st.builds(Recover, session_ids=st.lists(ids, min_size=1, max_size=3).map(tuple), yes=st.booleans()),
        st.builds(Recover, everything=st.just(True), yes=st.booleans()),
        st.builds(Recover, prune=st.just(True), yes=st.booleans()),
        st.builds(Recover),
    ),
    Logs: st.builds(Logs, session_id=ids),
    Inspect: st.builds(Inspect, session_id=ids),
}


class Recorder:
    """A transport that keeps what it is given and answers with a result of the right kind."""

    def __init__(self) -> None:
        self.seen: list[Operation[Any]] = []

    def execute(self, operation: Operation[R]) -> R:
        """Keep it."""
        self.seen.append(operation)
        return cast("R", RESULTS[type(operation)])


def every_operation() -> set[type]:
    """The concrete operations that the module defines."""
    return {kind for kind in vars(operations).values() if isinstance(kind, type) and Operation in kind.__mro__[1:]}


def test_every_operation_is_covered_here() -> None:
    """A new operation cannot be forgotten below."""
    assert every_operation() == set(OPERATIONS) == set(RESULTS)


@pytest.mark.parametrize("kind", list(OPERATIONS), ids=lambda kind: kind.__name__)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_operation_survives_its_own_command_line(
    kind: type[Operation[Any]], data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of another machine is exactly what was asked here, whatever the texts hold."""
    operation = data.draw(OPERATIONS[kind])
    line = command_line.encode(operation)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((line.stdin or "").encode())))
    recorder = Recorder()
    assert run(line.arguments, Application(recorder)) == 0
    assert recorder.seen == [operation]


def test_an_objective_is_begun_whatever_is_said_beside_it() -> None:
    """A status beside it says nothing."""
    asked = SetGoal(session_id="fizz-top", objective="- work\n- rest", status="paused", token_budget=5)
    line = command_line.encode(asked)
    assert line.arguments == ["goal", "fizz-top", "--json", "--budget", "5", "--file", "-"]
    assert line.stdin == "- work\n- rest"


def test_a_message_never_stands_in_the_arguments() -> None:
    """What is sent, or to be worked towards, cannot be read in the list of processes."""
    asked = (
        Send(session_id="a", message="secret"),
        Ask(session_id="a", message="secret"),
        SetGoal(session_id="a", objective="secret"),
    )
    for operation in asked:
        assert not any("secret" in word for word in command_line.encode(operation).arguments)
