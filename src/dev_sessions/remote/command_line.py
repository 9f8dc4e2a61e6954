"""Encode operations as command lines, and decode what those print as the operations' results. Pure.

An operation becomes the arguments and the standard input of a `dev-sessions` command; the command tree parses them to
the same operation. For example, arguments and output:

    status fizz-top                          working
    kill fizz-top                            Killed session fizz-top
    last-message fizz-top --count 1 --json   ["The tests pass."]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from dev_sessions.errors import WAITING_FOR_INPUT_EXIT_CODE
from dev_sessions.json_validation import Malformed, from_json, read_rows, read_session, read_state
from dev_sessions.models import (
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
from dev_sessions.system.deadline import seconds_text
from dev_sessions.system.fast_dataclass import fast_dataclass, replace
from dev_sessions.system.programs import Completed

R = TypeVar("R")

#: The exit code of a `recover` in which some sessions failed; its report says which.
_SOME_FAILED = 1


@fast_dataclass(frozen=True)
class CommandLine:
    """The arguments of a `dev-sessions` command, and its standard input (None: empty).

    `is_private`: the arguments hold a user's own words, which other users must not see in a list of processes.
    """

    arguments: list[str]
    stdin: str | None = None
    is_private: bool = False


@fast_dataclass(frozen=True)
class _Codec:
    """The command line of one kind of operation.

    `encode` returns the command line of an operation, `decode` the result in its output; with any exit code but
    `exit_codes` there is no result.
    """

    encode: Callable[[Any], CommandLine]
    decode: Callable[[Any, Completed], Any]
    exit_codes: tuple[int, ...] = (0,)


def encode(operation: Operation[Any], *, full_version: bool = True) -> CommandLine:
    """Return the command line of an operation; without `full_version`, one that version 0.4 understands."""
    if not full_version:
        match operation:
            case List():  # 0.4 has no --all, and deletes lost sessions anyway
                operation = List()
            case Create():
                operation = replace(operation, created_by=None)
            case SetGoal(objective=str(objective)):  # 0.4 accepts it only as an argument
                rest = encode(replace(operation, objective=None, status=None))
                return CommandLine([*rest.arguments, "--", objective], is_private=True)
    return _CODECS[type(operation)].encode(operation)


def decode(operation: Operation[R], done: Completed) -> R:
    """Return the result in the output of a command. Raises ValueError if there is none."""
    result: R = _CODECS[type(operation)].decode(operation, done)
    return result


def exit_codes(operation: Operation[Any]) -> tuple[int, ...]:
    """Return the exit codes of an operation's command that mean a result; any other one is an error."""
    return _CODECS[type(operation)].exit_codes


def _encode_create(operation: Create) -> CommandLine:
    options = _options(
        cli=operation.cli,
        mode=operation.mode,
        json=True,
        path=operation.path,
        host=operation.host,
        description=operation.description,
        model=operation.model,
        id=operation.id,
        created_by=operation.created_by,
        trust=operation.trust,
    )
    options += _worktree_option(operation.worktree)
    args = ["--", *operation.args] if operation.args else []
    return CommandLine(["create", *options, *args], is_private=operation.description is not None or bool(args))


def _encode_fork(operation: Fork) -> CommandLine:
    options = _options(json=True, description=operation.description, id=operation.id, created_by=operation.created_by)
    options += _worktree_option(operation.worktree)
    return CommandLine(["fork", operation.session_id, *options], is_private=operation.description is not None)


def _worktree_option(worktree: str | None) -> list[str]:
    if worktree is None:
        return []
    return [f"--worktree={worktree}" if worktree else "--worktree"]


def _encode_recover(operation: Recover) -> CommandLine:
    everything = operation.yes and not operation.session_ids and not operation.prune
    options = _options(json=True, all=everything, yes=operation.yes, prune=operation.prune, gone=operation.gone)
    return CommandLine(["recover", *options, "--", *operation.session_ids])


def _encode_respond(operation: Respond) -> CommandLine:
    options = _options(allow=operation.allow is True, deny=operation.allow is False, cancel=operation.cancel)
    arguments = ["respond", *options, "--", operation.session_id, *operation.answers]
    # A lone dash stands for standard input.
    stdin = "-" if operation.answers == ("-",) else None
    return CommandLine(arguments, stdin, is_private=bool(operation.answers))


def _encode_wait(operation: Wait) -> CommandLine:
    names = ("timeout", "interval", "goal", "next_turn", "through_limits")
    return _line("wait", operation, **{name: getattr(operation, name) for name in names})


def _encode_set_goal(operation: SetGoal) -> CommandLine:
    file = None if operation.objective is None else "-"
    # An objective always starts, whatever the status.
    status = operation.status if file is None else None
    resume, pause = status == "active", status == "paused"
    options = {"json": True, "resume": resume, "pause": pause, "budget": operation.token_budget, "file": file}
    return _line("goal", operation, operation.objective, **options)


def _line(command: str, operation: Any, stdin: str | None = None, /, **options: str | float | None) -> CommandLine:
    """Return the command line of a command for the session of an operation."""
    return CommandLine([command, operation.session_id, *_options(**options)], stdin)


def _options(**values: str | float | None) -> list[str]:
    """Return options with their values: none for None and False, no value for True, `--next-turn` for `next_turn`."""
    words: list[str] = []
    for name, value in values.items():
        if value is not None and value is not False:
            words.append(f"--{name.replace('_', '-')}")
            if value is not True:
                words.append(value if isinstance(value, str) else seconds_text(value))
    return words


def _decode_ask(_: Ask, done: Completed) -> Reply:
    if done.code == WAITING_FOR_INPUT_EXIT_CODE:
        return Reply("", "waiting_for_input")
    return Reply(done.stdout.removesuffix("\n"), "completed")


def _decode_wait(operation: Wait, done: Completed) -> WaitResult:
    if done.code == WAITING_FOR_INPUT_EXIT_CODE:
        return WaitResult("waiting_for_input", 0)
    printed = last_line(done)
    if operation.goal:
        # Only the goal's status is printed.
        return WaitResult("completed", 0, None if printed == "cleared" else Goal("", "", status=printed))
    if printed != "completed":
        raise Malformed(f"{printed[:80]!r}")
    return WaitResult("completed", 0)


def _decode_kill_many(_: KillMany, done: Completed) -> KillReport:
    start = "Killed session "
    killed = [line.removeprefix(start) for line in done.stdout.splitlines() if line.startswith(start)]
    return KillReport(tuple(killed), (), tuple(done.stderr.splitlines()))


def _decode_nothing(_: Operation[Any], __: Completed) -> None:
    """Return nothing: the exit code is the result."""


def _json(done: Completed) -> Any:
    """Return the JSON value in the output; a login shell may have printed other lines before it.

    A value begins with the last line that can begin one: the others of it are indented.
    """
    text = "\n" + done.stdout
    start = max(text.rfind(f"\n{first}") for first in "{[ntf")
    try:
        return json.loads(text[start:] if start >= 0 else "")
    except (ValueError, RecursionError) as error:
        raise Malformed("no JSON") from error


def last_line(done: Completed) -> str:
    """Return the last line of the output, after what a login shell may have printed."""
    return done.stdout.strip().rpartition("\n")[2].strip()


_CODECS: dict[type[Operation[Any]], _Codec] = {
    Create: _Codec(_encode_create, lambda _, done: read_session(_json(done))),
    Fork: _Codec(_encode_fork, lambda _, done: read_session(_json(done))),
    Send: _Codec(
        lambda op: _line("send", op, op.message, file="-", json=op.receipt, discard_draft=op.discard_draft),
        lambda op, done: from_json(Receipt, _json(done)) if op.receipt else None,
    ),
    Ask: _Codec(
        lambda op: _line("ask", op, op.message, file="-", timeout=op.timeout, through_limits=op.through_limits),
        _decode_ask,
        (0, WAITING_FOR_INPUT_EXIT_CODE),
    ),
    Wait: _Codec(
        _encode_wait,
        _decode_wait,
        (0, WAITING_FOR_INPUT_EXIT_CODE),
    ),
    LastMessage: _Codec(
        lambda op: _line("last-message", op, count=op.count, json=True),
        lambda _, done: from_json(list[str], _json(done)),
    ),
    Status: _Codec(
        lambda op: _line("status", op, json=op.detail),
        lambda op, done: read_state(StatusResult, _json(done) if op.detail else {"state": last_line(done)}),
    ),
    List: _Codec(
        lambda op: CommandLine(["list", *_options(json=True, all=op.everything)]),
        lambda _, done: Listing(read_rows(_json(done)), 0),
    ),
    Kill: _Codec(
        lambda op: _line("kill", op, gone=op.gone),
        lambda op, done: KillReport((op.session_id,), (), tuple(done.stderr.splitlines())),
    ),
    KillMany: _Codec(
        lambda op: CommandLine(["kill", *_options(all=op.older_than is None, older_than=op.older_than)]),
        _decode_kill_many,
    ),
    Recover: _Codec(
        _encode_recover,
        lambda _, done: RecoverReport(from_json(tuple[RecoverRow, ...], _json(done))),
        (0, _SOME_FAILED),
    ),
    Logs: _Codec(lambda op: _line("logs", op, json=True), lambda _, done: from_json(list[LogTurn], _json(done))),
    Inspect: _Codec(lambda op: _line("inspect", op), lambda _, done: from_json(dict[str, Any], _json(done))),
    Respond: _Codec(_encode_respond, _decode_nothing),
    Interrupt: _Codec(
        lambda op: _line("interrupt", op, timeout=op.timeout, json=True),
        lambda _, done: from_json(Interrupted, _json(done)),
    ),
    GetGoal: _Codec(lambda op: _line("goal", op, json=True), lambda _, done: from_json(Goal | None, _json(done))),
    SetGoal: _Codec(_encode_set_goal, lambda _, done: from_json(Goal, _json(done))),
    ClearGoal: _Codec(
        lambda op: _line("goal", op, clear=True, json=True),
        lambda _, done: from_json(bool, from_json(dict[str, Any], _json(done)).get("cleared")),
    ),
}
