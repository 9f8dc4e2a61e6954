"""Handle a Claude in a container whose files are not visible here: no message is proved, and no reply can be read."""

from __future__ import annotations

from dev_sessions.claude import session_file
from dev_sessions.claude.transcript_file import find_transcript
from dev_sessions.errors import ProtocolError
from dev_sessions.models import ClaudeSession


def unobservable_warning(session: ClaudeSession) -> str:
    """Return the warning for a session without visible files at its start; its transcript may still appear later."""
    return (
        f"No file of this Claude is visible in {session_file.config_dir(session)}: if its container does not share"
        " them, no message can be proved to arrive and no reply can be read; mount its transcripts into the container"
        " (docs/containers.md)"
    )


def lacks_transcript(session: ClaudeSession) -> bool:
    """Return whether a message was sent to a session, and no transcript of it is visible here."""
    if session.mode != "docker" or session.claude_version is not None or session.claude_send_digest is None:
        return False
    conversation = session.claude_send_transcript or session.internal_id
    return find_transcript(session_file.config_dir(session), conversation) is None


def missing_transcript_reason(session: ClaudeSession) -> str:
    """Return why the transcript is missing."""
    return f"its container does not keep its transcript in {session_file.config_dir(session)} (docs/containers.md)"


def require_transcript(session: ClaudeSession) -> None:
    """Raise ProtocolError when the session's transcript is not visible here."""
    if lacks_transcript(session):
        raise ProtocolError(
            f"The replies of {session.id} can't be read: {missing_transcript_reason(session)}; to see it:"
            f" dev-sessions attach {session.id}"
        )
