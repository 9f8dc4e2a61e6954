"""The shapes that everything else talks in: sessions, turns, results. Frozen dataclasses, one definition each.

A session's JSON form is its record in `sessions.json`: camelCase names, absent instead of null. Fields that this
version does not know travel along in `extra` and are written back as they came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

Cli: TypeAlias = Literal["claude", "codex"]
Mode: TypeAlias = Literal["native", "docker"]
State: TypeAlias = Literal["idle", "working", "waiting_for_input", "lost"]
StoredStatus: TypeAlias = Literal["active", "inactive"]
WaitOutcome: TypeAlias = Literal["completed", "waiting_for_input"]
TurnStatus: TypeAlias = Literal["completed", "failed", "interrupted"]
JsonObject: TypeAlias = dict[str, Any]

#: An old default of the original that Codex no longer knows: never passed on.
DROPPED_MODELS = frozenset({"gpt-5.3-codex"})


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as the store writes times: ISO 8601, UTC, milliseconds, Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_timestamp(text: str) -> float:
    """The reverse of `timestamp`; any ISO 8601 form. ValueError when it is none."""
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True, kw_only=True)
class Session:
    """What is remembered of a session: names, ids and where its last turn began; never a state.

    `internal_id` is Claude's session UUID or Codex's thread id. `claimed_by` (see `process.this_process`) marks
    a session whose `create` has not finished. `worktree` is the root of the git worktree that was made for the session,
    with `worktree_branch` checked out. Times are ISO 8601 strings.
    """

    id: str
    internal_id: str
    cli: Cli
    mode: Mode = "native"
    path: str
    host: str | None = None
    remote_bin: str | None = None
    description: str | None = None
    status: StoredStatus = "active"
    model: str | None = None
    last_turn_status: TurnStatus | None = None
    last_turn_error: str | None = None
    created_at: str
    last_used: str
    claimed_by: str | None = None
    worktree: str | None = None
    worktree_branch: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ClaudeSession(Session):
    """A Claude Code process in a tmux session.

    The tmux server is `tmux_socket` (None: the user's default one), `tmux_pane` the pane's id there. `claude_pid`
    with `claude_proc_start` names the process. `claude_send_*` say what the last send was: digests of its text and of
    the end of it, the name of the command if it is like one, the transcript (a session UUID) and the size in bytes
    that it had before.
    """

    cli: Cli = "claude"
    tmux_socket: str | None = None
    tmux_pane: str | None = None
    claude_config_dir: str | None = None
    claude_pid: int | None = None
    claude_proc_start: str | None = None
    claude_send_digest: str | None = None
    claude_send_end_digest: str | None = None
    claude_send_command: str | None = None
    claude_send_transcript: str | None = None
    claude_send_offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class CodexSession(Session):
    """A thread of the Codex app-server.

    `app_server_pid` and `app_server_port` name the original's daemon when that one still serves the thread.
    `codex_active_turn_id` is the turn that the last send began or steered.
    """

    cli: Cli = "codex"
    app_server_pid: int | None = None
    app_server_port: int | None = None
    codex_turn_in_progress: bool | None = None
    codex_active_turn_id: str | None = None
    codex_last_completed_at: str | None = None


@dataclass(frozen=True)
class Standing:
    """What a session does right now. `waiting_for` says for what; `background`: a command runs on behind its turns."""

    state: State
    waiting_for: str | None = None
    background: bool = False


@dataclass(frozen=True)
class Question:
    """Something that an agent asks: options with a label and a description each; `multiple`: several may be chosen."""

    text: str
    options: tuple[tuple[str, str], ...] = ()
    multiple: bool = False


@dataclass(frozen=True)
class Pending:
    """What a session waits for: an answer to questions, a permission, or whatever else a dialog wants.

    `what` names it in one line. A permission may have options, too: then they are those of its one question.
    """

    kind: Literal["question", "permission", "dialog"]
    what: str
    questions: tuple[Question, ...] = ()

    @property
    def text(self) -> str:
        """The questions with their options numbered, as `respond` takes them."""
        if not self.questions:
            return self.what
        return "\n\n".join(_question_text(question) for question in self.questions)


def _question_text(question: Question) -> str:
    several = " (several may be chosen)" if question.multiple else ""
    options = [
        f"{number}. {label}{f' - {description}' if description else ''}"
        for number, (label, description) in enumerate(question.options, 1)
    ]
    return "\n".join([question.text + several, *options])


@dataclass(frozen=True)
class Receipt:
    """What is proved about a message that was sent, and the turn it went into where the agent names turns."""

    state: Literal["submitted", "queued", "steered", "answered", "command"]
    turn_id: str | None = None


@dataclass(frozen=True)
class Outcome:
    """How what was waited for ended: well, badly (`error` says why), or with a question to the caller."""

    status: Literal["completed", "failed", "interrupted", "waiting_for_input"]
    error: str | None = None


@dataclass(frozen=True)
class WaitResult:
    """The answer of `wait`: `completed` or `waiting_for_input`, after so many milliseconds."""

    outcome: WaitOutcome
    elapsed_ms: int


@dataclass(frozen=True)
class Reply:
    """The answer of `ask`: the last text of the reply, or that the session asks something back."""

    text: str
    outcome: WaitOutcome


@dataclass(frozen=True)
class LogTurn:
    """One thing said in a conversation."""

    role: Literal["human", "assistant"]
    text: str


@dataclass(frozen=True)
class Listed:
    """A session and what it does right now."""

    session: Session
    standing: Standing


@dataclass(frozen=True)
class Listing:
    """The answer of `list`: the rows, and how many lost sessions are not among them."""

    rows: tuple[Listed, ...]
    lost: int


@dataclass(frozen=True)
class KillReport:
    """The answer of `kill`: ids that were ended, one line for each that could not be, and one for what was left."""

    killed: tuple[str, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecoverRow:
    """One session in the answer of `recover`.

    `action` says what there is to do, as in "would …" (None: nothing, it lives), `done` whether it was done, `error`
    why it can't be.
    """

    id: str
    action: str | None = None
    done: bool = False
    error: str | None = None


@dataclass(frozen=True)
class RecoverReport:
    """The answer of `recover`, and one line for what was left of sessions that were forgotten."""

    rows: tuple[RecoverRow, ...]
    notes: tuple[str, ...] = ()


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int | None": (int, type(None)),
    "bool | None": (bool, type(None)),
    "Cli": (str,),
    "Mode": (str,),
    "StoredStatus": (str,),
    "TurnStatus | None": (str, type(None)),
}


def json_name(name: str) -> str:
    """The name of a session's field in its record: `championId` for the id, else camelCase."""
    return "championId" if name == "id" else re.sub(r"_(\w)", lambda match: match[1].upper(), name)


def _table(kind: type[Session]) -> dict[str, tuple[str, tuple[type, ...]]]:
    return {json_name(item.name): (item.name, _TYPES[str(item.type)]) for item in fields(kind) if item.name != "extra"}


_TABLES: dict[type[Session], dict[str, tuple[str, tuple[type, ...]]]] = {
    ClaudeSession: _table(ClaudeSession),
    CodexSession: _table(CodexSession),
}
_KINDS: dict[str, type[Session]] = {"claude": ClaudeSession, "codex": CodexSession}


def session_to_json(session: Session) -> JsonObject:
    """A session as its record."""
    record = {
        name: value
        for name, (attribute, _) in _TABLES[type(session)].items()
        if (value := getattr(session, attribute)) is not None
    }
    return {**session.extra, **record}


def session_arguments(record: Mapping[str, Any]) -> tuple[type[Session], dict[str, Any]]:
    """The class of a record and the arguments to build it from, types unchecked. ValueError: neither agent's."""
    cli = record.get("cli")
    kind = _KINDS.get(cli) if isinstance(cli, str) else None
    if kind is None:
        raise ValueError("cli: neither claude nor codex")
    table = _TABLES[kind]
    known = {table[name][0]: value for name, value in record.items() if name in table}
    extra = {name: value for name, value in record.items() if name not in table}
    return kind, {**known, "extra": extra}


def session_from_json(record: Mapping[str, Any]) -> Session:
    """A record as a session. ValueError, naming the field, when it is not of this form."""
    kind, arguments = session_arguments(record)
    for name, (attribute, types) in _TABLES[kind].items():
        if attribute in arguments and not isinstance(arguments[attribute], types):
            raise ValueError(f"{name}: {type(arguments[attribute]).__name__} is not what belongs there")
    try:
        session = kind(**arguments)
    except TypeError as error:
        raise ValueError(str(error)) from error
    parse_timestamp(session.last_used)
    return session
