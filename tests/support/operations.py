"""Every operation with arguments that Hypothesis makes, and a result of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from hypothesis import strategies as st

from dev_sessions.models import (
    CodexSession,
    Goal,
    Interrupted,
    KillReport,
    Listing,
    LogTurn,
    Receipt,
    RecoverReport,
    RecoverRow,
    Reply,
    StatusResult,
    WaitResult,
)
from dev_sessions.operations import (
    Ask,
    ClearGoal,
    Create,
    Fork,
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

R = TypeVar("R")
SESSION = CodexSession(id="fizz-top", internal_id="t", path="/w", created_at="2026-01-01", last_used="2026-01-01")
RESULTS: dict[type[Operation[Any]], object] = {
    Create: SESSION,
    Fork: SESSION,
    Send: Receipt("submitted"),
    Ask: Reply("text", "completed"),
    Wait: WaitResult("completed", 5),
    GetGoal: Goal("t", "work", "active"),
    SetGoal: Goal("t", "work", "active"),
    ClearGoal: True,
    LastMessage: ["text"],
    Status: StatusResult("idle"),
    Respond: None,
    Interrupt: Interrupted(("say one",)),
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


def _with_args(request: Create) -> st.SearchStrategy[Create]:
    """Return the request with options that its agent takes."""
    text = words.map(lambda value: value.replace("\n", " "))
    values = st.lists(text.map(lambda value: f"x={value}"), max_size=3)
    if request.cli == "codex":
        args = values.map(lambda given: tuple(word for value in given for word in ("-c", value)))
    else:
        args = values.map(lambda given: tuple(word for value in given for word in ("--append-system-prompt", value)))
    return args.map(lambda given: replace(request, args=given))


OPERATIONS: dict[type[Operation[Any]], st.SearchStrategy[Operation[Any]]] = {
    Create: st.builds(
        # Codex has no docker mode.
        lambda mode, **fields: Create(mode="native" if fields["cli"] == "codex" else mode, **fields),
        st.sampled_from(["native", "docker"]),
        path=st.none() | words,
        host=st.none() | words,
        cli=st.sampled_from(["claude", "codex"]),
        description=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
        model=st.none() | words,
        id=st.none() | ids,
        # The command line takes what starts with a dash for an option, as git does for a branch that can't be.
        worktree=st.none() | st.just("") | words.filter(lambda name: not name.startswith("-")),
        trust=st.booleans(),
    ).flatmap(_with_args),
    Fork: st.builds(
        Fork,
        session_id=ids,
        description=st.none() | words,
        id=st.none() | ids,
        worktree=st.none() | st.just("") | words.filter(lambda name: not name.startswith("-")),
        created_by=st.none() | words,
    ),
    Send: st.builds(Send, session_id=ids, message=texts, receipt=st.booleans(), discard_draft=st.booleans()),
    Respond: st.one_of(
        st.builds(Respond, session_id=ids, answers=st.lists(words, min_size=1, max_size=3).map(tuple)),
        st.builds(Respond, session_id=ids, allow=st.booleans()),
        st.builds(Respond, session_id=ids, cancel=st.just(True)),
    ),
    Interrupt: st.builds(Interrupt, session_id=ids, timeout=seconds),
    Ask: st.builds(Ask, session_id=ids, message=texts, timeout=seconds, through_limits=st.booleans()),
    Wait: st.one_of(
        st.builds(Wait, session_id=ids, timeout=seconds, interval=st.none() | seconds, goal=st.booleans()),
        st.builds(Wait, session_id=ids, timeout=seconds, next_turn=st.just(True)),
        st.builds(Wait, session_id=ids, timeout=seconds, through_limits=st.booleans()),
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
        st.builds(Recover, yes=st.booleans()),
        st.builds(Recover, prune=st.just(True), yes=st.booleans()),
        st.builds(Recover),
    ),
    Logs: st.builds(Logs, session_id=ids),
    Inspect: st.builds(Inspect, session_id=ids),
}


class Recorder:
    """A transport that records its operations and returns a result of the right type."""

    def __init__(self) -> None:
        self.seen: list[Operation[Any]] = []

    def execute(self, operation: Operation[R]) -> R:
        """Keep it."""
        self.seen.append(operation)
        return cast("R", RESULTS[type(operation)])
