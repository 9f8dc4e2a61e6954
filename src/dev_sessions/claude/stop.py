"""Stop a session: end its Claude, wherever that has its conversation."""

from __future__ import annotations

from collections.abc import Callable

from dev_sessions.claude import background, session_file, session_panes
from dev_sessions.claude.pane import AgentPane
from dev_sessions.claude.tmux import PaneInfo, Tmux, session_name
from dev_sessions.errors import NotOwned, ProtocolError
from dev_sessions.models import ClaudeSession
from dev_sessions.system.process import identify, terminate


def stop(session: ClaudeSession, warn: Callable[[str], None]) -> None:
    """Kill the tmux session and end all processes of the session, including those that the record does not have.

    An interrupted create or recover may have left some, and Claude's background may have the conversation. A
    container may outlive the `docker run` in the pane, so Claude is asked to exit first.

    Raises LivenessUnknown, before anything is ended, when the session may run where its processes can't be seen.
    """
    own = session_file.local_process(session)
    if session.mode == "docker":
        AgentPane(session).quit()
    job = background.find(session, session_file.for_session(session))
    tmux, name = Tmux(session.tmux_socket), session_name(session.id)
    access_error: NotOwned | None = None
    panes: list[PaneInfo] = []
    try:
        panes = session_panes.list_panes(session.id, tmux, require_here=True)
    except NotOwned as error:
        if session.claude_pid is None:
            raise
        access_error = error
    socket_repair = AgentPane(session).socket_repair_command() if access_error is None else None
    if session.claimed_by is not None and not any(session_panes.is_started_for(session.id, pane) for pane in panes):
        # An interrupted create: if there is a tmux session of this name, it belongs to somebody else.
        panes = []
    # A person may have brought another session's window here, or swapped the two.
    own_panes = [pane for pane in panes if not session_panes.is_started_for_another(session, pane)]
    processes = {identify(pane.pane.pid) for pane in own_panes if not pane.ended} | {own}
    if access_error is None and (panes or own is not None or session.claimed_by is None):
        may_end_session = len(own_panes) == len(panes)
        if may_end_session:
            tmux.kill(name)
        for pane in own_panes:
            # The session was renamed, its pane moved to another, or another session shows its window, too.
            if not may_end_session or pane.session != name or pane.is_shared:
                tmux.kill_pane(pane.pane.id)
    for process in processes:
        if process is not None and not terminate(process):
            raise ProtocolError(
                f"Process {process.pid} of {session.id} does not end; end it yourself: kill -9 {process.pid}"
            )
    # The conversation could move to the background until the process had ended.
    job = background.find(session, None) or job
    if job is not None:
        background.stop_job(session, job)
    if access_error is not None:
        warn(f"Claude was ended, but an empty tmux session {name} may remain, which can't be checked: {access_error}")
    session_panes.remove_files(session.id)
    if socket_repair is not None:
        warn(
            f"the socket of tmux is gone, so an empty session {name} remains there; end it with: {socket_repair} &&"
            f" dev-sessions kill {session.id}"
        )
