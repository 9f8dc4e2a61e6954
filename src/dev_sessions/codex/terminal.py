"""The terminal of a session: Codex's own, which connects to the app-server as another client."""

from __future__ import annotations

from pathlib import Path

from dev_sessions.codex.app_server_state import ServerState
from dev_sessions.codex.history import history
from dev_sessions.codex.legacy import legacy_app_server
from dev_sessions.codex.thread import Thread
from dev_sessions.errors import InvalidRequest, ProtocolError
from dev_sessions.models import CodexSession, Terminal
from dev_sessions.system.programs import find_program

#: The environment variable in which Codex's terminal gets the app-server's token.
_TOKEN_VARIABLE = "DEV_SESSIONS_CODEX_TOKEN"


def require_message(thread: Thread, session: CodexSession) -> None:
    """Raise InvalidRequest for a thread without a message: on one, Codex's terminal ends with a backtrace (0.169)."""
    if next(history(thread, session, "notLoaded"), None) is None:
        raise InvalidRequest(
            f"Codex cannot show {session.id} before its first message: dev-sessions send {session.id} MESSAGE"
        )


def terminal(session: CodexSession, state: ServerState | None) -> Terminal:
    """Return the terminal; `state` is the state file of the app-server."""
    legacy = legacy_app_server()
    if legacy is not None and legacy.serves(session):
        address, token_file = legacy.address, None
    elif state is not None:
        address, token_file = state.address, state.token_file
    else:
        raise ProtocolError("Codex's app-server has just ended; try again")
    argv = [find_program("codex"), "resume", "--remote", address]
    if token_file is None:
        return Terminal((*argv, session.internal_id), session.path)
    argv += ["--remote-auth-token-env", _TOKEN_VARIABLE, session.internal_id]
    return Terminal(tuple(argv), session.path, {_TOKEN_VARIABLE: Path(token_file).read_text()})
