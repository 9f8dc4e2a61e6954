"""Every error that this program raises on purpose.

Each class carries the exit code with which the command line ends. The message is one line (a few quote
what another program printed below it) and says what to do next::

    DevSessionsError                1
    ├── InvalidRequest              1   the request itself makes no sense (the parser's own refusals are 2)
    │   └── IdInUse                 1
    ├── SessionNotFound             1
    ├── ProgramMissing              1   tmux, claude, codex, …: not installed or too old
    ├── StoreError                  1   sessions.json can't be read, written or locked
    │   └── NotOurs                 1   a file, directory, socket or server belongs to another user
    ├── StartFailed                 1   an agent or its server did not start
    ├── DeliveryFailed              1   a message or an answer was not delivered, or its arrival could not be proved
    │   ├── NothingTyped            1   it failed before anything was typed
    │   └── MayHaveArrived          1   it failed later
    ├── AfterArrival                1   a message has arrived, and something failed after that
    ├── SessionLost                 1   the process behind a session is gone
    ├── MovedToBackground           1   Claude's daemon runs the conversation, out of sight of the session's terminal
    ├── ProcessesUnseen             1   whether a process lives can't be told from here
    │   └── InSandbox               1   of nothing outside: the caller is in a sandbox
    ├── TurnFailed                  1   the turn ended, but not well (failed, interrupted)
    ├── SkillNotInstalled           1   another skill stands in its place, or nothing can be written there
    ├── ProtocolError               1   another program answered something that can't be understood, or nothing
    ├── WaitTimedOut              124
    ├── HostUnreachable           255   ssh failed, and nothing else
    └── Relayed                     n   what went wrong on another machine, with its words and exit code
"""

from __future__ import annotations

#: Of `wait` and `ask`, when the session waits for input: no error, but for the caller to act on.
WAITING_FOR_INPUT_EXIT_CODE = 3


class DevSessionsError(Exception):
    """Base of all errors that are shown to the user as they are."""

    exit_code = 1
    #: Whether the message itself says what became of a message that was being delivered.
    tells_arrival = False

    @property
    def seen(self) -> str:
        """What happened, without the advice: to try again may be the wrong one."""
        return str(self).partition("\n")[0].partition("; ")[0].rstrip(".")


class InvalidRequest(DevSessionsError):
    """What was asked for can't be done as asked."""


class IdInUse(InvalidRequest):
    """A session of this name exists already, in the store or on the tmux server."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Champion ID already in use: {session_id}")


class SessionNotFound(DevSessionsError):
    """No session of this name is known."""

    tells_arrival = True  # its words are 0.4's, and leave no doubt

    def __init__(self, session_id: str) -> None:
        super().__init__(f"Session not found: {session_id}")


class ProgramMissing(DevSessionsError):
    """A program that this operation needs is not installed, or is of an unsupported version."""


class StoreError(DevSessionsError):
    """The session store can't be read, written or locked; its content was left as it was."""


class NotOurs(StoreError):
    """Something belongs to another user, or another user could replace it; it was not used."""


class StartFailed(DevSessionsError):
    """An agent, or the server behind it, did not get ready."""


class DeliveryFailed(DevSessionsError):
    """A message was not sent, or it is not known to have arrived. It is never sent again by itself.

    `screen` is what the agent showed. Callers get one of the two below: `attempt.delivering` knows which.
    """

    def __init__(self, seen: str, advice: str = "", screen: str = "", *, exit_code: int = 1) -> None:
        text = f"{seen}; {advice}" if advice else seen
        super().__init__(f"{text}. It shows:\n{screen}" if screen else text)
        self._seen = seen
        self.screen = screen
        self.exit_code = exit_code

    @property
    def seen(self) -> str:
        return self._seen


class NothingTyped(DeliveryFailed):
    """A delivery failed before anything was typed: it can be repeated."""

    tells_arrival = True


class MayHaveArrived(DeliveryFailed):
    """A delivery failed after it had begun: it is not repeated before somebody has looked."""

    tells_arrival = True


class AnsweredElsewhere(DevSessionsError):
    """A dialog took another answer than the one that was given. `outcome` is what it took."""

    tells_arrival = True

    def __init__(self, session_id: str, outcome: str) -> None:
        super().__init__(
            f"{session_id} did not take this answer: {outcome}, as somebody used its terminal in the same moment;"
            f" see what came of it: dev-sessions last-message {session_id}"
        )


class AfterArrival(DevSessionsError):
    """A message has arrived, and something failed after that. `seen` is what, None when the command was ended."""

    tells_arrival = True

    def __init__(self, session_id: str, seen: str | None = None) -> None:
        text = f"The message was sent to {session_id}, do not send it again: dev-sessions wait {session_id}."
        super().__init__(f"{text} What failed after that: {seen}" if seen else text)


class SessionLost(DevSessionsError):
    """The session is known, but the process that ran it is gone."""

    def __init__(self, session_id: str, what: str) -> None:
        super().__init__(
            f"{session_id} is lost: {what}. `dev-sessions recover {session_id} --yes` brings it back with its"
            f" conversation, `dev-sessions logs {session_id}` shows what was said,"
            f" `dev-sessions kill {session_id}` forgets it"
        )


class MovedToBackground(DevSessionsError):
    """Claude's daemon runs a session's conversation as a background job, which its terminal does not show."""

    def __init__(self, session_id: str, job: str) -> None:
        super().__init__(
            f"{session_id} was moved to Claude's background, where it goes on as {job}."
            f" `dev-sessions recover {session_id} --yes` brings it back, `dev-sessions kill {session_id}` ends it"
        )
        self.job = job


class ProcessesUnseen(DevSessionsError):
    """Whether a process lives can't be told from here, so it is neither taken for gone nor ended."""


class InSandbox(ProcessesUnseen):
    """The caller is in a sandbox: it sees no process outside, and nothing that it starts outlives it."""


class TurnFailed(DevSessionsError):
    """The turn that was waited for ended in a failure or was interrupted."""

    tells_arrival = True  # only what has arrived has a turn


class SkillNotInstalled(DevSessionsError):
    """A skill was not installed; what stands in its place was left as it was."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Skill {name} was not installed: {why}")


class ProtocolError(DevSessionsError):
    """A program behind a session gave an answer that can't be used, or none."""


class WaitTimedOut(DevSessionsError):
    """What was waited for did not happen in time. Nothing was changed: the same wait can be run again."""

    exit_code = 124  # as of timeout(1)
    tells_arrival = True  # what is waited for is the turn of what has arrived


class HostUnreachable(DevSessionsError):
    """The connection to another machine failed or was lost."""

    exit_code = 255


class Relayed(DevSessionsError):
    """What went wrong on another machine, in its words and with its exit code."""

    tells_arrival = True

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code
