"""The data types that all parts share: sessions, their states, and the results of operations. Frozen dataclasses.

`record_json` has their JSON forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar, cast, get_args

from dev_sessions.system.fast_dataclass import fast_dataclass, field, replace
from dev_sessions.system.process_id import ProcessId

if TYPE_CHECKING:
    from typing import TypedDict
else:

    class TypedDict(dict):
        """At run time a plain dict: the real one compiles the type of each field, 0.5 ms for every command."""

        def __init_subclass__(cls, *, total: bool) -> None:
            pass


Cli: TypeAlias = Literal["claude", "codex"]
Mode: TypeAlias = Literal["native", "docker"]
State: TypeAlias = Literal["idle", "working", "waiting_for_input", "lost"]
StoredStatus: TypeAlias = Literal["active", "inactive"]
WaitOutcome: TypeAlias = Literal["completed", "waiting_for_input"]
TurnStatus: TypeAlias = Literal["completed", "failed", "interrupted"]
#: Why a turn did not end well, in the same words for every agent.
Reason: TypeAlias = Literal[
    "usage_limit",
    "rate_limit",
    "overloaded",
    "auth",
    "billing",
    "model",
    "context",
    "output_limit",
    "policy",
    "network",
    "hook",
    "interrupted",
    "died",
    "invalid_request",
    "unknown",
]
#: The statuses that a user can give to a goal.
GoalChange: TypeAlias = Literal["active", "paused"]
JsonObject: TypeAlias = dict[str, Any]

#: The default model of version 0.4, which Codex no longer knows: it is ignored in records.
DROPPED_MODELS = frozenset({"gpt-5.3-codex"})


#: Characters of a session's name in the agents' own lists.
_MAX_NAME = 60


def timestamp(seconds: float) -> str:
    """Format seconds since the epoch as the store does, with milliseconds in UTC: `2026-11-29T05:11:09.123Z`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_timestamp(text: str) -> float:
    """Parse a time in any ISO 8601 format into seconds since the epoch. Raises ValueError."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except OverflowError as error:
        raise ValueError(f"{text} is out of range") from error


def known_reason(word: object) -> Reason | None:
    """Return a reason that was read from outside: None for none, `unknown` for one that this version does not know."""
    if word is None:
        return None
    return next((reason for reason in get_args(Reason) if reason == word), "unknown")


def camel(name: str) -> str:
    """Convert a name to camelCase: `waiting_for` to `waitingFor`."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


class Serializable:
    """Base of the types that are sent between machines as JSON.

    `record_json.to_json` writes them, with camelCase names and without fields that have their default;
    `json_validation.from_json` reads them with pydantic, by this configuration.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"alias_generator": camel}


@fast_dataclass(frozen=True, kw_only=True)
class Session:
    """The record of a session: names, ids and where its last turn began, but not its state.

    `internal_id` is Claude's session UUID or Codex's thread id. `claimed_by` (see `process.this_process`) marks a
    session whose `create` has not finished. `worktree` is the root of the session's own git worktree, with
    `worktree_branch` checked out; `worktree_base` is the commit at which `create` starts that branch, until it has
    finished. `agent_args` are the agent's own options that it was created with. A session with a `host` runs there;
    `remote_bin` is the dev-sessions command there, `remote_version` its version when it was last asked. `extra` has the
    fields of the record that this version does not know. Times are ISO 8601. `created_by` is the session that created
    it, or another agent as `claude:ID` or `codex:ID`.
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
    agent_args: tuple[str, ...] | None = None
    last_turn_status: TurnStatus | None = None
    last_turn_error: str | None = None
    created_at: str
    last_used: str
    claimed_by: str | None = None
    created_by: str | None = None
    worktree: str | None = None
    worktree_branch: str | None = None
    worktree_base: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """The name that the agent's own lists show: the id and the beginning of the description, in one line."""
        name = " ".join(f"{self.id}: {self.description or ''}".split()).removesuffix(":")
        return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that every process of the session inherits, which identify it.

        An id can be reused, also in another home at the same time; with the time of its creation it is unique.
        """
        return {"DEV_SESSIONS_ID": self.id, "DEV_SESSIONS_CREATED_AT": self.created_at}

    @property
    def environment_marks(self) -> tuple[Mapping[str, str], ...]:
        """Sets of environment variables: a process that has all of one set was started in this session.

        Sessions that an earlier version created have only the agents' own variables.
        """
        return (self.variables,)

    @property
    def root_process(self) -> ProcessId | None:
        """The process that all of the session descends from, where it is known."""
        return None


@fast_dataclass(frozen=True, kw_only=True)
class ClaudeSession(Session):
    """A Claude Code process in a tmux session.

    `tmux_socket` is the tmux server's (None: the user's default one), `tmux_pane` the pane's id. `claude_pid` with
    `claude_proc_start` identifies the process, in docker mode the wrapper's, in the pid namespace `claude_pid_domain`
    (see `pid_namespace.domain`); `claude_lock` is the id of the lock that it holds for life, if any (see
    `file_locks.lock_id`). `claude_version` is the version in Claude's session file at its start (None: that file is not
    visible here).

    `claude_send_*` describe the last send: digests of its text and of the text's end, its name if it looks like a
    command, the transcript (a session UUID) and its size in bytes before the send (None: it will begin with a copy of
    another one), the process that got it (as `claude_proc_start`), and the time. `claude_taken_back_send` is the time
    of the send whose message was taken back by an interrupt before Claude had written anything of it.
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
    claude_taken_back_send: str | None = None

    @property
    def sent_at(self) -> float:
        """Return when the last message was sent (Unix time); an earlier version recorded only `last_used`."""
        return parse_timestamp(self.claude_send_time or self.last_used)

    @property
    def environment_marks(self) -> tuple[Mapping[str, str], ...]:
        """Empty in docker mode: the container's processes are not visible here.

        A person may have the same conversation open elsewhere, so its id counts only together with the pid, if known.
        """
        if self.mode == "docker":
            return ()
        process = {"CLAUDE_PID": str(self.claude_pid)} if self.claude_pid is not None else {}
        return (self.variables, {"CLAUDE_CODE_SESSION_ID": self.internal_id, **process})

    @property
    def process(self) -> ProcessId | None:
        """Claude's process, in docker mode its wrapper's; None when an earlier version did not record it."""
        if self.claude_pid is None or self.claude_proc_start is None:
            return None
        return ProcessId(self.claude_pid, self.claude_proc_start)

    @property
    def root_process(self) -> ProcessId | None:
        """Claude; None in docker mode, where the container's processes are not seen here."""
        return self.process if self.mode == "native" else None


@fast_dataclass(frozen=True, kw_only=True)
class CodexSession(Session):
    """A thread of the Codex app-server.

    `app_server_pid` and `app_server_port` name the app-server of version 0.4, if that has the thread.
    `codex_active_turn_id` is the turn that the last send began or steered, `codex_send_id` the client id of its message
    in that turn (None: it answered a question). `codex_home` is the CODEX_HOME whose app-server has the thread (None:
    an earlier version created it).
    """

    cli: Cli = "codex"
    codex_home: str | None = None
    app_server_pid: int | None = None
    app_server_port: int | None = None
    codex_turn_in_progress: bool | None = None
    codex_active_turn_id: str | None = None
    codex_send_id: str | None = None
    codex_last_completed_at: str | None = None

    @property
    def environment_marks(self) -> tuple[Mapping[str, str], ...]:
        """Includes the thread's id, once there is a thread.

        Subagents are threads with the id of the first one as their session, which forks are not (0.150 to 0.171).
        """
        return (self.variables, {"CODEX_SESSION_ID": self.internal_id}) if self.internal_id else (self.variables,)


#: The agents, and the class of their sessions' records.
SESSION_TYPES: Mapping[Cli, type[Session]] = {"claude": ClaudeSession, "codex": CodexSession}

S = TypeVar("S", bound=Session)


class FieldChanges(TypedDict, total=False):
    """New values for fields of a session's record, as `Session`, `ClaudeSession` and `CodexSession` define them."""

    internal_id: str
    path: str
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
    claude_taken_back_send: str | None
    codex_home: str | None
    codex_turn_in_progress: bool | None
    codex_active_turn_id: str | None
    codex_send_id: str | None


def with_changes(session: S, changes: FieldChanges) -> S:
    """Return a session with new values for some of its fields."""
    return replace(session, **cast(dict[str, Any], changes))


def undo_changes(session: Session, changes: FieldChanges) -> FieldChanges:
    """Return the changes that restore a session's own values of the changed fields."""
    return cast(FieldChanges, {name: getattr(session, name) for name in changes})


@fast_dataclass(frozen=True)
class Activity:
    """The activity that one or more lines of a conversation's file show.

    `at`: when it was written (ISO 8601), "" if the line is not part of the conversation. `tokens`: of the model's last
    request with its response; `tokens_total`: of all of them, if the agent counts them; `context_window`: how many fit
    into one request, if the agent reports it.
    """

    at: str = ""
    tokens: int | None = None
    tokens_total: int | None = None
    context_window: int | None = None


@fast_dataclass(frozen=True)
class Goal(Serializable):
    """The goal of a Codex session, which works towards it turn after turn. The fields are those of Codex.

    `status`: `active`, `paused`, `blocked`, `usageLimited`, `budgetLimited`, `complete`, or one of a later Codex; Codex
    works only on an active goal. `created_at` and `updated_at` are seconds since the epoch.
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
        """Return whether Codex works on it."""
        return self.status == "active"


@fast_dataclass(frozen=True)
class SessionState(Serializable):
    """The state of a session.

    `waiting_for` says what it waits for; `background`: a background command runs; `moved_to`: the background job of
    Claude that has its conversation, if its own terminal does not show it; `since`: when the state began (ISO 8601), if
    the agent reports it.

    Only with detail: `last_activity` is when the conversation was last written (ISO 8601), `tokens` the number of the
    model's last request with its response, which is the size of the conversation, and `tokens_total` that of all
    requests, if the agent counts them (Codex does); `context_window` the number that fit into one request, if the agent
    reports it (Codex does). `goal` is the goal of a Codex session. `reason` is why the last turn of an idle session did
    not end well, `resets_at` when its usage limit ends and `continues_at` from when on the agent continues the turn by
    itself (ISO 8601), if the agent reports it. `suspended`: somebody has pressed Ctrl-Z in its terminal.
    """

    state: State
    waiting_for: str | None = None
    background: bool = False
    moved_to: str | None = None
    since: str | None = None
    last_activity: str | None = None
    tokens: int | None = None
    tokens_total: int | None = None
    reason: Reason | None = None
    resets_at: str | None = None
    continues_at: str | None = None
    suspended: bool = False
    context_window: int | None = None
    goal: Goal | None = None

    def with_activity(self, activity: Activity) -> SessionState:
        """Return this state with the fields of an activity."""
        return replace(
            self,
            last_activity=activity.at or None,
            tokens=activity.tokens,
            tokens_total=activity.tokens_total,
            context_window=activity.context_window,
        )

    def with_outcome(self, outcome: Outcome | None) -> SessionState:
        """Return this state with the reason of an outcome (None: the turn has not ended)."""
        if outcome is None:
            return self
        return replace(self, reason=outcome.reason, resets_at=outcome.resets_at, continues_at=outcome.continues_at)


@fast_dataclass(frozen=True)
class StatusResult(SessionState):
    """The result of `status`: a session's state; with detail also the path of its git worktree, and the number of
    options that it offers if it asks something."""

    worktree: str | None = None
    options: int | None = None


@fast_dataclass(frozen=True)
class Question(Serializable):
    """A question of an agent. Options have a label and a description; `multiple`: several may be chosen."""

    text: str
    options: tuple[tuple[str, str], ...] = ()
    multiple: bool = False


@fast_dataclass(frozen=True)
class Pending(Serializable):
    """The input that a session waits for: answers to questions, a permission, or another dialog.

    `what` names it in one line. A permission may have options, which are those of its only question.
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
class Receipt(Serializable):
    """The proof that a message arrived: what became of it, and its turn if the agent names turns.

    `question`: what it answered, if the session was asking something.
    """

    state: Literal["submitted", "queued", "steered", "answered", "command"]
    turn_id: str | None = None
    question: str | None = None


@fast_dataclass(frozen=True)
class Interrupted(Serializable):
    """The result of `interrupt`: the messages that the agent has taken back, which its model never gets."""

    undelivered: tuple[str, ...] = ()


@fast_dataclass(frozen=True)
class Outcome:
    """The end of a turn or a wait; `error` says why it failed, in the agent's words, `cause` in one of ours.

    `resets_at`: when the usage limit that it met ends (ISO 8601), if the agent reports it. `continues_at`: from when on
    the agent continues the turn by itself (ISO 8601), None if it does not.
    """

    status: Literal["completed", "failed", "interrupted", "waiting_for_input"]
    error: str | None = None
    cause: Reason | None = None
    resets_at: str | None = None
    continues_at: str | None = None

    @property
    def reason(self) -> Reason | None:
        """Return why the turn did not end well; None if it did, or if the session waits for input."""
        if self.status in ("completed", "waiting_for_input"):
            return None
        return self.cause or ("interrupted" if self.status == "interrupted" else "unknown")


@fast_dataclass(frozen=True)
class Answer:
    """The agent's answer to a message: its text blocks, oldest first.

    `messages`: how many messages it answers; several if the agent read them before it had answered the first.
    """

    texts: tuple[str, ...] = ()
    messages: int = 1


@fast_dataclass(frozen=True)
class WaitResult(Serializable):
    """The result of `wait`: the outcome, the milliseconds it took, and of `--goal` the goal (None: it was cleared)."""

    outcome: WaitOutcome
    elapsed_ms: int
    goal: Goal | None = None


@fast_dataclass(frozen=True)
class Reply(Serializable):
    """The result of `ask`: the last text of the reply, or what the session asks (`waiting_for_input`).

    `messages`: how many messages the reply answers, including this one.
    """

    text: str
    outcome: WaitOutcome
    messages: int = 1


@fast_dataclass(frozen=True)
class LogTurn(Serializable):
    """One message of a conversation. `cause`: the origin of a prompt that no person typed, such as a scheduled job."""

    role: Literal["human", "assistant"]
    text: str
    cause: str | None = None


def paragraph(turn: LogTurn) -> str:
    """Format a message as text: a line `[HUMAN]` or `[ASSISTANT]`, a line with the cause in parentheses, the text."""
    cause = f"({turn.cause})\n" if turn.cause else ""
    return f"[{turn.role.upper()}]\n{cause}{turn.text}"


@fast_dataclass(frozen=True)
class Listed:
    """A row of `list`: a session and its state, None if an older version on its machine does not report it."""

    session: Session
    state: SessionState | None


@fast_dataclass(frozen=True)
class Listing:
    """The result of `list`: the rows, and the number of lost sessions that are left out.

    `unseen`: why the state of some rows is unknown, in a sandbox.
    """

    rows: tuple[Listed, ...]
    lost: int
    unseen: str | None = None


@fast_dataclass(frozen=True)
class Terminal:
    """A program that shows a session to a person: command line, directory, and changes of its environment.

    A variable that is None is removed.
    """

    argv: tuple[str, ...]
    path: str | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)


@fast_dataclass(frozen=True)
class KillReport(Serializable):
    """The result of `kill`: the ids of ended sessions, an error line for each other one, and notes on leftovers."""

    killed: tuple[str, ...]
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@fast_dataclass(frozen=True)
class RecoverRow(Serializable):
    """One session in the result of `recover`.

    `action` says what would be done, as in "would …" (None: nothing, it is alive), `done` whether it was, `error` why
    it cannot be.
    """

    id: str
    action: str | None = None
    done: bool = False
    error: str | None = None


@fast_dataclass(frozen=True)
class RecoverReport(Serializable):
    """The result of `recover`, with notes on leftovers of sessions that were removed."""

    rows: tuple[RecoverRow, ...]
    notes: tuple[str, ...] = ()
