"""The caller and its sessions: what `--mine` selects, and what a session cannot do to itself."""

from __future__ import annotations

from collections.abc import Iterable

import click

from dev_sessions.cli.app import Application
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Listed, Session
from dev_sessions.operations import List
from dev_sessions.system import caller

mine_option = click.option("--mine", is_flag=True, help="Only sessions that the calling agent created.")


def require_caller() -> str:
    """Return the caller's identity. Raises InvalidRequest for a person."""
    own = caller.identity()
    if own is None:
        raise InvalidRequest(
            "--mine selects the sessions that an agent created, and no agent runs this command; leave it out, or name"
            " sessions"
        )
    return own


def is_mine(session: Session) -> bool:
    """Return whether the caller created a session."""
    return session.created_by == require_caller() and session.created_at >= caller.created_at()


def my_sessions(application: Application) -> list[Listed]:
    """Return the running sessions that the caller created."""
    require_caller()
    return [row for row in application.execute(List()).rows if is_mine(row.session)]


def require_others(session_ids: Iterable[str], what: str) -> None:
    """Raise InvalidRequest if a session is the caller's own; `what` is done to it."""
    own = caller.session_id()
    if own is not None and own in session_ids:
        raise InvalidRequest(f"{own} is this session itself: {what} would wait for its own turn; end the turn instead")
