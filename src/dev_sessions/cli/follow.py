"""`logs --follow`: print what is said in a session as it is said."""

from __future__ import annotations

import time
from collections.abc import Iterator

from dev_sessions.cli.app import Application
from dev_sessions.errors import DevSessionsError
from dev_sessions.models import LogTurn
from dev_sessions.operations import Logs, Status
from dev_sessions.system.deadline import cancellation

#: Seconds between two polls.
_POLL_INTERVAL = 1.0


def follow(application: Application, session_id: str) -> Iterator[LogTurn]:
    """Yield the conversation so far, then each message once it is written, until the surrounding wait is cancelled.

    Raises the error of two polls in a row, such as that the session has ended: while it ends, one may have another.
    """
    known: list[LogTurn] = []
    activity: object = None
    is_settled = False
    error: DevSessionsError | None = None
    is_cancelled = cancellation()
    while not is_cancelled():
        before, error_before, error, now = activity, error, None, known
        try:
            status = application.execute(Status(session_id=session_id, detail=True))
            activity = status.state, status.last_activity, status.tokens
        except DevSessionsError as failed:
            error = failed
        # Read once more after the last change: a text may be written a moment later than the state.
        was_settled, is_settled = is_settled, activity == before and error is None
        if not was_settled or not is_settled:
            try:
                now = list(application.execute(Logs(session_id=session_id)))
            except DevSessionsError as failed:
                error = failed
        yield from now[_common(known, now) :]
        known = now
        if error is not None and error_before is not None:
            raise error
        time.sleep(_POLL_INTERVAL)


def _common(known: list[LogTurn], now: list[LogTurn]) -> int:
    """Return how many messages both begin with. One that was taken back since is not printed again."""
    pairs = enumerate(zip(known, now, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(known), len(now)))
