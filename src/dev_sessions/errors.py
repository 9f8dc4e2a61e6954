"""The errors that are shown to the user, with their exit codes.

The message is one line that says what happened and what to do; a few quote the output of another program below it::

    DevSessionsError                1
    ├── InvalidRequest              1   the request cannot be fulfilled as it is (exit code 2: the parser refused it)
    │   └── IdInUse                 1
    ├── SessionNotFound             1
    ├── ProgramMissing              1   tmux, claude, codex, …: not installed or too old
    ├── StoreError                  1   a file below ~/.dev-sessions cannot be read, written or locked
    │   └── NotOwned                1   a file, directory, socket or server belongs to another user
    ├── StartFailed                 1   an agent or its server did not start
    │   └── MayBeRunning            1   it is not known whether it has ended
    ├── DeliveryFailed              1   a message or an answer was not delivered, or its arrival is not proved
    │   ├── NothingTyped            1   it failed before anything was typed
    │   └── MayHaveArrived          1   it failed later
    ├── HookBlocked                 1   a hook of the user's blocked a message
    ├── AnsweredElsewhere           1   a dialog took another answer
    ├── AfterArrival                1   a message has arrived, and something failed after that
    ├── SessionLost                 1   the process of a session is gone
    ├── MovedToBackground           1   Claude's daemon runs the conversation, and its terminal does not show it
    ├── LivenessUnknown             1   it is not known whether a process is alive
    │   └── InSandbox               1   the caller is in a sandbox
    ├── TurnFailed                  1   the turn failed or was interrupted
    ├── SkillNotInstalled           1   another skill has its name, or its file cannot be written
    ├── ProtocolError               1   another program failed, or its response was invalid
    ├── WaitTimedOut              124
    ├── HostUnreachable           255   ssh failed
    └── Relayed                     n   the error of another machine, with its exit code
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev_sessions.models import Reason

#: The exit code of `wait` and `ask` when the session waits for input, which is not an error.
WAITING_FOR_INPUT_EXIT_CODE = 3


#: The lines of a screen that an error quotes at most.
_MAX_LINES = 10


class DevSessionsError(Exception):
    """Base of all errors that are shown to the user as they are."""

    exit_code = 1
    #: True if the error says whether a message that was being delivered has arrived.
    reports_arrival = False
    #: Why a turn did not end well, when its usage limit ends, and from when on the agent continues it by itself (ISO
    #: 8601), if the error is about that.
    reason: Reason | None = None
    resets_at: str | None = None
    continues_at: str | None = None

    @property
    def summary(self) -> str:
        """Return what happened, without the advice, which may be wrong in another error."""
        return str(self).partition("\n")[0].partition("; ")[0].rstrip(".")


def last_lines(text: str) -> str:
    """Return the end of another program's output or screen, for an error that quotes it as evidence."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-_MAX_LINES:])


class InvalidRequest(DevSessionsError):
    """Raised when a request cannot be fulfilled as it is."""


class IdInUse(InvalidRequest):
    """Raised when a session of this id exists already, in the store or on the tmux server."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Champion ID already in use: {session_id}")


class SessionNotFound(DevSessionsError):
    """Raised when no session has this id."""

    reports_arrival = True  # scripts match on its text, and nothing can have arrived

    #: The beginning of its text, which others match on.
    START = "Session not found: "

    def __init__(self, session_id: str) -> None:
        super().__init__(f"{self.START}{session_id}")


class ProgramMissing(DevSessionsError):
    """Raised when a needed program is not installed, or its version is not supported."""


class StoreError(DevSessionsError):
    """Raised when a file below ~/.dev-sessions cannot be read, written or locked; its content is unchanged."""


class NotOwned(StoreError):
    """Raised when a file or server belongs to another user, or another user could replace it; it was not used."""


class StartFailed(DevSessionsError):
    """Raised when an agent or its server did not become ready."""


class MayBeRunning(StartFailed):
    """Raised when an agent did not become ready, and it is not known whether it has ended; its record is kept."""


class DeliveryFailed(DevSessionsError):
    """Raised when a message was not sent, or its arrival is not proved. It is never sent again automatically.

    `screen` is the agent's screen. `attempt.delivering` converts it into NothingTyped or MayHaveArrived.
    """

    def __init__(self, summary: str, advice: str = "", screen: str = "", *, exit_code: int = 1) -> None:
        text = f"{summary}; {advice}" if advice else summary
        super().__init__(f"{text}. It shows:\n{last_lines(screen)}" if screen else text)
        self._summary = summary
        self.screen = screen
        self.exit_code = exit_code

    @property
    def summary(self) -> str:
        return self._summary


class NothingTyped(DeliveryFailed):
    """Raised when a delivery failed before anything was typed: it is safe to repeat it."""

    reports_arrival = True


class MayHaveArrived(DeliveryFailed):
    """Raised when a delivery failed after it had begun: the caller must check before repeating it."""

    reports_arrival = True


class HookBlocked(DevSessionsError):
    """Raised when a hook of the user's has blocked a message: `words` are the hook's own."""

    reports_arrival = True
    reason = "hook"

    def __init__(self, session_id: str, words: str) -> None:
        super().__init__(
            f"{words}: the message for {session_id} was blocked by a UserPromptSubmit hook and not delivered;"
            " change the message, or the hook in Claude Code's settings"
        )


class AnsweredElsewhere(DevSessionsError):
    """Raised when a dialog took another answer than the given one: `outcome` says which."""

    reports_arrival = True

    def __init__(self, session_id: str, outcome: str) -> None:
        super().__init__(
            f"{session_id} did not take this answer: {outcome}, as somebody used its terminal at the same moment;"
            f" see the result: dev-sessions last-message {session_id}"
        )


class AfterArrival(DevSessionsError):
    """Raised when a message has arrived, and then something failed.

    `summary` says what failed; None when a signal ended the command.
    """

    reports_arrival = True

    def __init__(self, session_id: str, summary: str | None = None) -> None:
        text = f"The message was sent to {session_id}, do not send it again: dev-sessions wait {session_id}."
        super().__init__(f"{text} What failed after that: {summary}" if summary else text)


class SessionLost(DevSessionsError):
    """Raised when the process of a session is gone."""

    reason = "died"

    def __init__(self, session_id: str, what: str) -> None:
        super().__init__(
            f"{session_id} is lost: {what}. `dev-sessions recover {session_id} --yes` restores it with its"
            f" conversation, `dev-sessions logs {session_id}` shows what was said,"
            f" `dev-sessions kill {session_id}` deletes its record"
        )


class MovedToBackground(DevSessionsError):
    """Raised when Claude's daemon runs a session's conversation as a background job."""

    def __init__(self, session_id: str, job: str) -> None:
        super().__init__(
            f"{session_id} was moved to Claude's background, where it continues as {job}."
            f" `dev-sessions recover {session_id} --yes` moves it back, `dev-sessions kill {session_id}` ends it"
        )
        self.job = job


class LivenessUnknown(DevSessionsError):
    """Raised when it is not known whether a process is alive: it is neither considered gone nor ended."""


class InSandbox(LivenessUnknown):
    """Raised in a sandbox, which sees no process outside and ends what is started in it."""


class TurnFailed(DevSessionsError):
    """Raised when a turn failed or was interrupted; see `failures.turn_failed`."""

    reports_arrival = True  # only a message that has arrived has a turn

    def __init__(
        self, text: str, reason: Reason, resets_at: str | None = None, continues_at: str | None = None
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.resets_at = resets_at
        self.continues_at = continues_at


class SkillNotInstalled(DevSessionsError):
    """Raised when a skill was not installed; an existing file is unchanged."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Skill {name} was not installed: {why}")


class ProtocolError(DevSessionsError):
    """Raised when another program failed, or its response was invalid."""


class WaitTimedOut(DevSessionsError):
    """Raised when a wait's timeout has passed. The same wait can be run again."""

    exit_code = 124  # as timeout(1)
    reports_arrival = True  # only a message that has arrived has a turn to wait for


class HostUnreachable(DevSessionsError):
    """Raised when the connection to another machine failed or was lost."""

    exit_code = 255


class Relayed(DevSessionsError):
    """Raised for an error of another machine, with its text and exit code, and its reason."""

    reports_arrival = True

    def __init__(
        self,
        text: str,
        exit_code: int,
        reason: Reason | None = None,
        resets_at: str | None = None,
        continues_at: str | None = None,
    ) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.reason = reason
        self.resets_at = resets_at
        self.continues_at = continues_at


def is_not_found(error: BaseException | None) -> bool:
    """Return whether an error, here or of another machine, says that no session has the id."""
    if isinstance(error, Relayed):
        return str(error).startswith(SessionNotFound.START)
    return isinstance(error, SessionNotFound)
