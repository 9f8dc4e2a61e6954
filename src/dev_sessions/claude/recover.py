"""Recover a session: start Claude again with the conversation of a process that is gone.

Two processes on one conversation would write into each other's transcript, and Claude does not prevent it (2.1.330). So
everything that could have the conversation is checked first, and an unclear answer counts as a yes.
"""

from __future__ import annotations

from collections.abc import Callable

from dev_sessions.agent import Recovery
from dev_sessions.claude import background, preflight, session_file, session_panes, start
from dev_sessions.claude.pane import POLL_INTERVAL
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.tmux import Pane, Tmux, session_name
from dev_sessions.errors import (
    InvalidRequest,
    LivenessUnknown,
    MovedToBackground,
    NotOwned,
    ProtocolError,
    SessionLost,
)
from dev_sessions.models import ClaudeSession, FieldChanges
from dev_sessions.system import pid_namespace
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Seconds for Claude to end after its terminal is gone (measured: up to 0.6).
_EXIT_TIMEOUT = 5.0


@fast_dataclass
class _Panes:
    """The panes of a lost session: that in which an interrupted recover has started Claude, and those in which it has
    ended. `in_use` says that others run something else."""

    unfinished: Pane | None
    dead: list[Pane]
    in_use: bool


def plan(process: ClaudeProcess) -> Recovery | None:
    """Return what would recover the session, or None if it is alive."""
    session = process.session
    try:
        if not _is_lost(process):
            return None
    except MovedToBackground:
        return _plan_return_from_background(session)
    job = background.find(session, None)
    conversation = job.conversation if job is not None else session_file.last_session_id(session)
    elsewhere = pid_namespace.place(session.claude_pid_domain) == "other namespace"
    found = _require_gone(session, conversation)
    socket = found.unfinished.socket if found.unfinished is not None else Tmux.current_socket()
    return Recovery(
        f"start Claude Code again in {session.path}, with its conversation",
        {"internal_id": conversation, "tmux_socket": socket},
        # Marked as ended first: starting Claude replaces the lock that proves it.
        {"claude_pid_domain": pid_namespace.ENDED} if elsewhere else {},
        found.in_use,
    )


def recover(session: ClaudeSession, warn: Callable[[str], None]) -> FieldChanges:
    """Recover the session, in a tmux session of the same name on the current server; return the changed fields."""
    job = background.find(session, session_file.for_session(session))
    if job is not None and job.viewer is not None:
        background.show_job(session, job.viewer)
        return {}
    if job is not None and job.worker is not None:
        preflight.require_supported_program()
        background.stop_job(session, job)
    found = _require_gone(session, session.internal_id)
    for pane in found.dead:
        Tmux(pane.socket).kill_pane(pane.id)
    session_file.remove(session)
    return start.resume(session, found.unfinished, warn)


def _plan_return_from_background(session: ClaudeSession) -> Recovery:
    """Return what would recover a session from Claude's background. Raises InvalidRequest while that would stop its
    work."""
    job = background.find(session, session_file.for_session(session))
    if job is None or not (job.viewer or job.is_alive):
        raise InvalidRequest(f"{session.id} has just returned from Claude's background; try again")
    if job.viewer is not None:
        return Recovery(f"have its terminal show it again: it continues in Claude's background as {job.id}")
    if job.worker is None or job.worker.status != "idle":
        raise InvalidRequest(
            f"{session.id} is at work in Claude's background as {job.id}, and its terminal has ended; recover it when"
            f" that turn has ended, or end it with: dev-sessions kill {session.id}"
        )
    return Recovery(
        f"stop it in Claude's background, where it continues as {job.id}, and start Claude Code again in"
        f" {session.path}, with its conversation",
        {"internal_id": job.conversation, "tmux_socket": Tmux.current_socket()},
    )


def _is_lost(process: ClaudeProcess) -> bool:
    """Return whether the process is gone, waiting for the end of a Claude that has lost its terminal."""
    session = process.session

    def has_ended() -> bool:
        try:
            process.require_foreground()
        except SessionLost:
            return True
        return False

    if has_ended():
        return True
    try:
        if session_panes.list_panes(session.id, Tmux(session.tmux_socket)):
            return False
    except ProtocolError:
        if session.claude_pid is not None:
            return False
        raise
    if not wait_until(has_ended, Deadline(_EXIT_TIMEOUT), POLL_INTERVAL):
        remedy = "end it, then try again" if session.claude_pid is None else f"end it first: kill {session.claude_pid}"
        raise InvalidRequest(f"The tmux session of {session.id} is gone, but its Claude is alive; {remedy}")
    return True


def _require_gone(session: ClaudeSession, conversation: str) -> _Panes:
    """Require that nothing else has the conversation, and return the session's panes.

    Raises InvalidRequest, which names what is in the way, and ProtocolError when something can't be determined.
    """
    found = _Panes(None, [], False)
    for socket in dict.fromkeys([session.tmux_socket or Tmux.default_socket(), Tmux.current_socket()]):
        try:
            panes = session_panes.list_panes(session.id, Tmux(socket), require_here=True)
        except NotOwned:
            if socket == Tmux.current_socket() or session.claude_pid is None:
                raise
            # The process has ended. An empty tmux session may remain, as it may if the socket is gone.
            continue
        # tmux notices the end of the session's own process later than the kernel does.
        claude = session.claude_pid
        ended = [info for info in panes if info.ended or info.pane.pid == claude or session_panes.is_placeholder(info)]
        living = [info for info in panes if info not in ended]
        agents = [info.pane for info in living if session_panes.is_started_for(session.id, info)]
        found.in_use |= len(agents) < len(living)
        dead = [info for info in ended if not session_panes.is_started_for_another(session, info)]
        dead = [info for info in dead if not living or session_panes.is_started_for(session.id, info)]
        found.dead += [info.pane for info in dead]
        if len(agents) == 1 and found.unfinished is None:
            (found.unfinished,) = agents
        elif agents or (living and session.mode == "docker"):
            # A container that a person has started there could have the conversation.
            raise InvalidRequest(
                f"Claude is gone from the tmux session of {session.id}, but something else runs there; attach and end"
                f" it: tmux -S {socket} attach -t ={session_name(session.id)}"
            )
    # A container's pid is meaningless here; the container went with the wrapper that ran in the pane.
    if session.mode == "native":
        holder = session_file.find_live(session_file.config_dir(session), conversation)
        if holder is not None and (found.unfinished is None or holder.pid != found.unfinished.pid):
            raise InvalidRequest(
                f"The conversation of {session.id} is open in another process; end that one first: kill {holder.pid}"
            )
        _require_not_elsewhere(session, conversation)
    return found


def _require_not_elsewhere(session: ClaudeSession, conversation: str) -> None:
    """Raise LivenessUnknown when a process of another pid namespace may have the conversation.

    The session's own process does not count; it is gone.
    """
    for record in session_file.scan(session_file.config_dir(session), conversation):
        own = session.process
        declared = session.claude_pid is None and session.claude_pid_domain == pid_namespace.ENDED
        if record.in_other_namespace and (record.pid, record.started) != own and not declared:
            file = session_file.config_dir(session) / "sessions" / f"{record.pid}.json"
            raise LivenessUnknown(
                f"The conversation of {session.id} may be open in a container or on another machine, where its process"
                f" {record.pid} can't be seen from here; end that one, or remove {file} if it is gone"
            )
