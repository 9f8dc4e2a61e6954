"""The shapes that everything else talks in: sessions, turns, results. Frozen dataclasses, one definition each.

Fields of a session's record that this version does not know travel along in `extra`. `records` has the JSON forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict, TypeVar, cast

from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.process_id import ProcessId

Cli: TypeAlias = Literal["claude", "codex"]
Mode: TypeAlias = Literal["native", "docker"]
State: TypeAlias = Literal["idle", "working", "waiting_for_input", "lost"]
StoredStatus: TypeAlias = Literal["active", "inactive"]
WaitOutcome: TypeAlias = Literal["completed", "waiting_for_input"]
TurnStatus: TypeAlias = Literal["completed", "failed", "interrupted"]
#: What a user may make of a goal: pause it, or have it worked on (again).
GoalChange: TypeAlias = Literal["active", "paused"]
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


def camel(name: str) -> str:
    """`waiting_for` as `waitingFor`."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


class Portable:
    """Base of what travels between machines: its JSON form has camelCase names, and leaves out what is at its default.

    `records.to_json` writes it; pydantic, told by this configuration, reads it (`parsing.from_json`).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"alias_generator": camel}


@fast_dataclass(frozen=True, kw_only=True)
class Session:
    """What is remembered of a session: names, ids and where its last turn began; never a state.

    `internal_id` is Claude's session UUID or Codex's thread id. `claimed_by` (see `process.this_process`) marks
    a session whose `create` has not finished. `worktree` is the root of the git worktree that was made for the session,
    with `worktree_branch` checked out, and `worktree_base` the commit on which its `create` makes that branch, until it
    has finished. Times are ISO 8601 strings. A session with a `host` lives there; `remote_bin` is
    the command to run there, `remote_version` the version that it had.
    """

    id: str
    internal_id: str
    cli: Cli
    mode: Mode = "native"
    path: str
    host: str | None = None
    remote_bin: str | None = None
    remote_version: str | None = None
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
    worktree_base: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that every process of the session inherits.

        An id can be used again, and in another home at the same time: with the time of its creation it is unique.
        """
        return {"DEV_SESSIONS_ID": self.id, "DEV_SESSIONS_CREATED_AT": self.created_at}

    @property
    def marks(self) -> tuple[Mapping[str, str], ...]:
        """Sets of environment variables; a process that has one of them whole was started in this session.

        The agents' own variables stand for `variables` in sessions that an earlier version created.
        """
        return (self.variables,)

    @property
    def root(self) -> ProcessId | None:
        """The process that all of the session descends from, where it is known."""
        return None


@fast_dataclass(frozen=True, kw_only=True)
class ClaudeSession(Session):
    """A Claude Code process in a tmux session.

    The tmux server is `tmux_socket` (None: the user's default one), `tmux_pane` the pane's id there. `claude_pid`
    with `claude_proc_start` names the process, in docker mode the wrapper's, in the pid namespace
    `claude_pid_domain` (see `pid_namespace.domain`); `claude_lock` is the name of the lock that it holds for as long as
    it lives (None: it holds none). `claude_version` is what Claude said of
    itself at its start (None: it leaves no record that is seen here). `claude_send_*` say what the last send was:
    digests of its text and of the end of it, the name of the command if it is like one, the transcript (a session
    UUID), the size in bytes that it had before (None: it will begin with a copy of another), the process that got it
    (as `claude_proc_start`), and when.
    """

    cli: Cli = "claude"
    tmux_socket: str | None = None
    tmux_pane: str | None = None
    claude_config_dir: str | None = None
    claude_pid: int | None = None
    claude_proc_start: str | None = None
    claude_pid_domain: str | None = None
    claude_lock: str | None = None
    claude_version: str | None = None
    claude_send_digest: str | None = None
    claude_send_end_digest: str | None = None
    claude_send_command: str | None = None
    claude_send_transcript: str | None = None
    claude_send_offset: int | None = None
    claude_send_process: str | None = None
    claude_send_time: str | None = None

    @property
    def sent_at(self) -> float:
        """When the last message was sent, in seconds since the epoch; a version before did not note it."""
        return parse_timestamp(self.claude_send_time or self.last_used)

    @property
    def marks(self) -> tuple[Mapping[str, str], ...]:
        """None in docker mode: the container's processes are not seen here.

        A person may have the same conversation open elsewhere, so its id counts together with the process alone, where
        that is known.
        """
        if self.mode == "docker":
            return ()
        process = {"CLAUDE_PID": str(self.claude_pid)} if self.claude_pid is not None else {}
        return (self.variables, {"CLAUDE_CODE_SESSION_ID": self.internal_id, **process})

    @property
    def process(self) -> ProcessId | None:
        """Claude, in docker mode its wrapper; None where an earlier version did not note it."""
        if self.claude_pid is None or self.claude_proc_start is None:
            return None
        return ProcessId(self.claude_pid, self.claude_proc_start)

    @property
    def root(self) -> ProcessId | None:
        """Claude; None in docker mode, where the container's processes are not seen here."""
        return self.process if self.mode == "native" else None


@fast_dataclass(frozen=True, kw_only=True)
class CodexSession(Session):
    """A thread of the Codex app-server.

    `app_server_pid` and `app_server_port` name the original's daemon when that one still serves the thread.
    `codex_active_turn_id` is the turn that the last send began or steered, `codex_send_id` the id by which its message
    is found among others in that turn (None: it was the answer to a question).
    """

    cli: Cli = "codex"
    app_server_pid: int | None = None
    app_server_port: int | None = None
    codex_turn_in_progress: bool | None = None
    codex_active_turn_id: str | None = None
    codex_send_id: str | None = None
    codex_last_completed_at: str | None = None

    @property
    def marks(self) -> tuple[Mapping[str, str], ...]:
        """The thread's id, too, once there is a thread: its subagents, which are threads, too, have that of the first
        one for their session, and forks do not (0.150 to 0.171)."""
        return (self.variables, {"CODEX_SESSION_ID": self.internal_id}) if self.internal_id else (self.variables,)


S = TypeVar("S", bound=Session)


class FieldChanges(TypedDict, total=False):
    """New values for fields of a session's record, as `Session`, `ClaudeSession` and `CodexSession` define them."""

    internal_id: str
    path: str
    description: str | None
    mode: Mode
    model: str | None
    remote_bin: str | None
    remote_version: str | None
    last_turn_status: TurnStatus | None
    last_turn_error: str | None
    last_used: str
    claimed_by: str | None
    worktree: str | None
    worktree_branch: str | None
    worktree_base: str | None
    tmux_socket: str | None
    tmux_pane: str | None
    claude_config_dir: str | None
    claude_pid: int | None
    claude_proc_start: str | None
    claude_pid_domain: str | None
    claude_lock: str | None
    claude_version: str | None
    claude_send_digest: str | None
    claude_send_end_digest: str | None
    claude_send_command: str | None
    claude_send_transcript: str | None
    claude_send_offset: int | None
    claude_send_process: str | None
    claude_send_time: str | None
    codex_turn_in_progress: bool | None
    codex_active_turn_id: str | None
    codex_send_id: str | None


def with_changes(session: S, changes: FieldChanges) -> S:
    """Return a session with new values for some of its fields."""
    return replace(session, **cast(dict[str, Any], changes))


def undo_changes(session: Session, changes: FieldChanges) -> FieldChanges:
    """Return the values that the fields of some changes have in a session."""
    return cast(FieldChanges, {name: getattr(session, name) for name in changes})


@fast_dataclass(frozen=True)
class Activity:
    """What a line of a conversation's file tells.

    `at`: when it was written (ISO 8601), "" when it is no part of the conversation. `tokens`: of the model's last
    request and its answer; `tokens_total`: of all of them, where the agent adds up.
    """

    at: str = ""
    tokens: int | None = None
    tokens_total: int | None = None


@fast_dataclass(frozen=True)
class SessionState(Portable):
    """What a session does right now. `waiting_for` says for what; `background`: a command runs on behind its turns.
    `moved_to` is the job of Claude's background that has its conversation, when its own terminal does not show that.

    `since`: from when on (ISO 8601), where the agent tells. The rest is there only when it was asked for in detail:
    `last_activity` is when something was last written to the conversation (ISO 8601), `tokens` what the model's last
    request and its answer took, which is how long the conversation is by now; `tokens_total` what all of them took
    together, where the agent adds that up (Codex does).
    """

    state: State
    waiting_for: str | None = None
    background: bool = False
    moved_to: str | None = None
    since: str | None = None
    last_activity: str | None = None
    tokens: int | None = None
    tokens_total: int | None = None

    def with_activity(self, activity: Activity) -> SessionState:
        """Return this state with when something was last written, and with tokens."""
        return replace(
            self,
            last_activity=activity.at or None,
            tokens=activity.tokens,
            tokens_total=activity.tokens_total,
        )


@fast_dataclass(frozen=True)
class SessionStatus(SessionState):
    """The answer of `status`: what a session does, and in detail the git worktree that was made for it."""

    worktree: str | None = None


@fast_dataclass(frozen=True)
class Question(Portable):
    """Something that an agent asks: options with a label and a description each; `multiple`: several may be chosen."""

    text: str
    options: tuple[tuple[str, str], ...] = ()
    multiple: bool = False


@fast_dataclass(frozen=True)
class Pending(Portable):
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


@fast_dataclass(frozen=True)
class Receipt(Portable):
    """What is proved about a message that was sent, and the turn it went into where the agent names turns."""

    state: Literal["submitted", "queued", "steered", "answered", "command"]
    turn_id: str | None = None


@fast_dataclass(frozen=True)
class Outcome:
    """How what was waited for ended: well, badly (`error` says why), or with a question to the caller."""

    status: Literal["completed", "failed", "interrupted", "waiting_for_input"]
    error: str | None = None


@fast_dataclass(frozen=True)
class Answer:
    """What the agent said to a message: its text blocks, oldest first.

    `messages`: how many messages it answers; several when the agent took them in before it had answered the first.
    """

    texts: tuple[str, ...] = ()
    messages: int = 1


@fast_dataclass(frozen=True)
class Goal(Portable):
    """What a Codex session works towards, turn after turn. The fields are Codex's own, with its names in JSON.

    `status`: `active`, `paused`, `blocked`, `usageLimited`, `budgetLimited`, `complete`, or one of a later Codex; only
    an active goal is worked on. `created_at` and `updated_at` are seconds since the epoch.
    """

    thread_id: str
    objective: str
    status: str
    token_budget: int | None = None
    tokens_used: int = 0
    time_used_seconds: int = 0
    created_at: int = 0
    updated_at: int = 0

    @property
    def active(self) -> bool:
        """Whether it is worked on."""
        return self.status == "active"


@fast_dataclass(frozen=True)
class WaitResult(Portable):
    """The answer of `wait`: `completed` or `waiting_for_input`, after so many milliseconds.

    `goal` is the goal that was waited for, as it was last; None when it was cleared.
    """

    outcome: WaitOutcome
    elapsed_ms: int
    goal: Goal | None = None


@fast_dataclass(frozen=True)
class Reply(Portable):
    """The answer of `ask`: the last text of the reply, or that the session asks something back.

    `messages`: how many messages the reply answers, the asker's among them.
    """

    text: str
    outcome: WaitOutcome
    messages: int = 1


@fast_dataclass(frozen=True)
class LogTurn(Portable):
    """One thing said in a conversation. `cause`: what a prompt comes from that no person typed, such as a scheduled
    job."""

    role: Literal["human", "assistant"]
    text: str
    cause: str | None = None


def paragraph(turn: LogTurn) -> str:
    """The text form of what was said: who, on a line of its own, then what, or first the cause in parentheses. Between
    two of them is a blank line."""
    cause = f"({turn.cause})\n" if turn.cause else ""
    return f"[{turn.role.upper()}]\n{cause}{turn.text}"


@fast_dataclass(frozen=True)
class Listed:
    """A session and what it does right now; None when another machine's older version does not tell."""

    session: Session
    state: SessionState | None


@fast_dataclass(frozen=True)
class Listing:
    """The answer of `list`: the rows, and how many lost sessions are not among them.

    `unseen`: why it is not known of some rows what they do, in a sandbox.
    """

    rows: tuple[Listed, ...]
    lost: int
    unseen: str | None = None


@fast_dataclass(frozen=True)
class Terminal:
    """A program that shows a session to a person: its command line, its folder, and what it needs in its environment.

    None for a variable that must not be there.
    """

    argv: tuple[str, ...]
    path: str | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)


@fast_dataclass(frozen=True)
class KillReport(Portable):
    """The answer of `kill`: ids that were ended, one line for each that could not be, and one for what was left."""

    killed: tuple[str, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@fast_dataclass(frozen=True)
class RecoverRow(Portable):
    """One session in the answer of `recover`.

    `action` says what there is to do, as in "would …" (None: nothing, it lives), `done` whether it was done, `error`
    why it can't be.
    """

    id: str
    action: str | None = None
    done: bool = False
    error: str | None = None


@fast_dataclass(frozen=True)
class RecoverReport(Portable):
    """The answer of `recover`, and one line for what was left of sessions that were forgotten."""

    rows: tuple[RecoverRow, ...]
    notes: tuple[str, ...] = ()
