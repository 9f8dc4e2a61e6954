"""Claude Code: driven in a tmux pane, followed in its files.

What a running Claude does is asked in this order: its own session file (`claude/presence`), its transcript
(`claude/transcript`), and tmux only where neither can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from dev_sessions import paths
from dev_sessions.backends.base import Sent
from dev_sessions.claude import presence, startup
from dev_sessions.claude.delivery import Delivery, checked
from dev_sessions.claude.follow import Follower
from dev_sessions.claude.presence import Presence
from dev_sessions.claude.tail import find_transcript, lines_backward, size
from dev_sessions.claude.tmux import Tmux, session_name
from dev_sessions.claude.transcript import digest, log_turn, parse
from dev_sessions.deadline import Deadline
from dev_sessions.errors import ProtocolError, SessionLost
from dev_sessions.models import ClaudeSession, LogTurn, Outcome, State
from dev_sessions.process import is_alive, terminate


class ClaudeBackend:
    """Sessions of Claude Code on this user's tmux. `warn` takes a line for the user."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn

    def start(self, session: ClaudeSession) -> Mapping[str, Any]:
        """Start Claude and wait until it is ready; see `startup.start`."""
        return startup.start(session, self._warn)

    def prepare_send(self, session: ClaudeSession, text: str) -> Mapping[str, Any]:
        """Refuse what can't be delivered as a message, then note where the transcript ends."""
        checked(text)
        found = self._require_alive(session)
        Delivery(session, found).check()
        session_id = found.session_id if found else session.internal_id
        return {
            "claude_send_digest": digest(text),
            "claude_send_transcript": session_id,
            "claude_send_offset": size(find_transcript(_config_dir(session), session_id)),
            "last_turn_status": None,
            "last_turn_error": None,
        }

    def send(self, session: ClaudeSession, text: str) -> Sent:
        """Paste, press Enter once, and find the message in the transcript."""
        return Sent(Delivery(session, _presence(session)).deliver(text))

    def wait(self, session: ClaudeSession, deadline: Deadline, interval: float | None) -> Outcome:
        """Follow session file and transcript until the turn has ended."""
        follower = Follower(session, _config_dir(session), lambda: self._require_alive(session))
        return follower.wait(deadline, interval)

    def reply(self, session: ClaudeSession) -> list[str]:
        """What was said since the last send's prompt, up to the next one."""
        return Follower(session, _config_dir(session), lambda: None).turn().reply

    def last_messages(self, session: ClaudeSession, count: int) -> list[str]:
        """Read from the transcript's end, so the cost does not grow with the conversation."""
        transcript = self._transcript(session)
        found: list[str] = []
        if transcript is not None:
            for line in lines_backward(transcript):
                # Most of a transcript is tool output; a glance saves parsing it.
                if b'"assistant"' in line:
                    entry = parse(line)
                    found += reversed(entry.texts if entry.kind == "reply" else ())
                    if len(found) >= count:
                        break
        return found[:count][::-1]

    def logs(self, session: ClaudeSession) -> list[LogTurn]:
        """Everything that was said, without the program's own markup."""
        transcript = self._transcript(session)
        if transcript is None:
            return []
        with open(transcript, "rb") as lines:
            turns = (
                log_turn(parse(line))
                for line in lines
                if b'"user"' in line or b'"assistant"' in line or b'"queued_command"' in line
            )
            return [turn for turn in turns if turn is not None]

    def states(self, sessions: Iterable[ClaudeSession]) -> dict[str, State]:
        """What each does, from its files; tmux is asked only about sessions that have none."""
        return {session.id: self._state(session) for session in sessions}

    def stop(self, session: ClaudeSession) -> None:
        """End the tmux session and see to it that the process is gone."""
        Tmux(session.tmux_socket).kill(session_name(session.id))
        if session.claude_pid is None or session.claude_proc_start is None:
            return
        if not terminate(session.claude_pid, session.claude_proc_start):
            raise ProtocolError(f"Claude's process {session.claude_pid} does not end; end it yourself: kill -9 it")

    def release(self, in_use: Callable[[], bool]) -> None:
        """Claude sessions share nothing."""

    def has_conversation(self, session: ClaudeSession) -> bool:
        """Whether a message was sent, by this program or by anybody."""
        return session.claude_send_digest is not None or self._transcript(session) is not None

    def _state(self, session: ClaudeSession) -> State:
        try:
            found = self._require_alive(session)
        except SessionLost:
            return "lost"
        return Follower(session, _config_dir(session), lambda: found).state()

    def _require_alive(self, session: ClaudeSession) -> Presence | None:
        """The session file of the living process, None where its version (or its container) leaves none here.

        SessionLost, saying what is gone. An unclear answer of tmux counts as alive: nothing is given up on a guess.
        """
        found = _presence(session)
        pid, started = session.claude_pid, session.claude_proc_start
        if pid is not None and started is not None:
            if is_alive(pid, started):
                return found
        elif found is not None or Tmux(session.tmux_socket).liveness(session_name(session.id)) != "dead":
            return found
        tmux_gone = Tmux(session.tmux_socket).liveness(session_name(session.id)) == "dead"
        raise SessionLost(session.id, "its tmux session is gone" if tmux_gone else "its Claude process has ended")

    def _transcript(self, session: ClaudeSession) -> Path | None:
        found = _presence(session)
        return find_transcript(_config_dir(session), found.session_id if found else session.internal_id)


def _config_dir(session: ClaudeSession) -> Path:
    return Path(session.claude_config_dir) if session.claude_config_dir else paths.claude_config_dir()


def _presence(session: ClaudeSession) -> Presence | None:
    """The session file of this session's process. By pid, because the session id changes with /clear."""
    config_dir = _config_dir(session)
    if session.claude_pid is not None and session.claude_proc_start is not None:
        if not is_alive(session.claude_pid, session.claude_proc_start):
            return None
        found = presence.read(config_dir, session.claude_pid)
        if found is not None:
            return found
    return presence.find(config_dir, session.internal_id)
