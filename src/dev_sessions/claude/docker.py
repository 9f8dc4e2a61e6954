"""Claude in a container that keeps its files to itself: nothing proves what it got, and nothing tells what it says."""

from __future__ import annotations

from dev_sessions.claude import session_file
from dev_sessions.claude.transcript_file import find_transcript
from dev_sessions.errors import ProtocolError
from dev_sessions.models import ClaudeSession


def unobservable_warning(session: ClaudeSession) -> str:
    """What to expect of a session of which no file is seen at its start; it may still write its transcripts here."""
    return (
        f"Nothing of this Claude is seen in {session_file.config_dir(session)}: if its container keeps its files to "
        "itself, no message can be proved to arrive and no reply can be read. Mount its transcripts into the container "
        "(README.md, Containers)"
    )


def lacks_transcript(session: ClaudeSession) -> bool:
    """Whether there is no trace here of something that was sent to a session."""
    if session.mode != "docker" or session.claude_version is not None or session.claude_send_digest is None:
        return False
    conversation = session.claude_send_transcript or session.internal_id
    return find_transcript(session_file.config_dir(session), conversation) is None


def missing_transcript_reason(session: ClaudeSession) -> str:
    """Why there is none."""
    return f"its container does not keep its transcript in {session_file.config_dir(session)} (README.md, Containers)"


def require_transcript(session: ClaudeSession) -> None:
    """ProtocolError when nothing that a session says can be read here."""
    if lacks_transcript(session):
        raise ProtocolError(f"Nothing is known of what {session.id} says: {missing_transcript_reason(session)}")
