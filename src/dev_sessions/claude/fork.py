"""Fork a conversation: copy its transcript up to the end of its last finished turn, and resume the copy.

`claude --resume ID --fork-session` would copy an unfinished turn, too, and writes the copy only with its first message,
so that until then nothing of the conversation could be read or recovered (2.1.250 to 2.1.332). What it writes then is
what is written here: the lines of the conversation with another session id.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dev_sessions.agent import Forked, nothing_to_fork
from dev_sessions.claude import docker, session_file, start
from dev_sessions.claude.process import ClaudeProcess
from dev_sessions.claude.session_file import FILE_POLL_INTERVAL, NOT_WORKING
from dev_sessions.claude.transcript import TURN_STARTERS, parse
from dev_sessions.claude.transcript_file import MAX_FLUSH_DELAY, Tail, find_transcript
from dev_sessions.errors import LivenessUnknown
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, parse_timestamp
from dev_sessions.system.deadline import Deadline, wait_until
from dev_sessions.system.foreign_files import open_regular
from dev_sessions.system.json_object import parse_object
from dev_sessions.system.private_files import open_private

#: The ending of a copy that is not complete.
_PARTIAL = ".partial"
#: Types of the lines that make up a conversation; others are about the program, or about the forked session.
_TYPES = frozenset({"user", "assistant", "system", "attachment", "progress", "summary", "content-replacement"})


def fork(session: ClaudeSession, source: ClaudeSession, warn: Callable[[str], None]) -> Forked:
    """Start Claude with a copy of another session's conversation, with the same configuration directory.

    Raises InvalidRequest if that has no finished turn, ProtocolError if its transcript is not visible here.
    """
    docker.require_transcript(source)
    transcript = ClaudeProcess(source).require_transcript()
    if transcript is None:
        raise nothing_to_fork(source)
    count, is_cut = _finished_lines(transcript)
    if is_cut and _is_idle(source):
        # Its last turn has ended, or was interrupted: the end may not be written yet.
        wait_until(lambda: not _finished_lines(transcript)[1], Deadline(MAX_FLUSH_DELAY), FILE_POLL_INTERVAL)
        count, is_cut = _finished_lines(transcript)
    copy = transcript.with_name(f"{session.internal_id}.jsonl")
    try:
        if not _write_copy(transcript, count, copy, session.internal_id):
            raise nothing_to_fork(source)
        return Forked(start.resume(session, None, warn), is_cut)
    except BaseException:
        with contextlib.suppress(OSError):
            copy.unlink()
        raise


def remove_unused_copy(session: ClaudeSession) -> None:
    """Remove the copy of a fork that was killed, unless somebody has continued the conversation since."""
    directory = session_file.config_dir(session)
    for partial in (directory / "projects").glob(f"*/{session.internal_id}{_PARTIAL}"):
        partial.unlink(missing_ok=True)
    copy = find_transcript(directory, session.internal_id)
    if copy is not None and _last_message_time(copy) < parse_timestamp(session.created_at):
        copy.unlink(missing_ok=True)


def _last_message_time(transcript: Path) -> float:
    """Return when the last message was written, in seconds since the epoch; infinity if that is not known."""
    for line in lines_backward(transcript):
        match parse_object(line):
            case {"type": "user" | "assistant", "timestamp": str(at)}:
                with contextlib.suppress(ValueError):
                    return parse_timestamp(at)
    return math.inf


def _is_idle(source: ClaudeSession) -> bool:
    try:
        found = session_file.for_session(source)
    except LivenessUnknown:
        return False
    return found is not None and found.status in NOT_WORKING


def _finished_lines(transcript: Path) -> tuple[int, bool]:
    """Return how many lines there are up to the end of the last finished turn, and whether an unfinished one follows.

    A turn that was interrupted before its reply counts as unfinished: Claude leaves nothing but its prompt (2.1.332).
    Lines that are flushed together may be out of order, the end of a turn before its prompt; their times are not.
    """
    count, unfinished, begun_at, ended_at = 0, None, "", ""
    for count, line in enumerate(Tail(transcript, 0).lines(), 1):
        entry = parse(line)
        if entry.ends_turn:
            ended_at = max(ended_at, entry.at)
            if ended_at >= begun_at:
                unfinished = None
            continue
        begins = entry.kind in TURN_STARTERS and not entry.merged and (entry.at > ended_at or not entry.at)
        if begins and unfinished is None:
            unfinished, begun_at = count - 1, entry.at
    return (count, False) if unfinished is None else (unfinished, True)


def _write_copy(transcript: Path, count: int, copy: Path, session_id: str) -> bool:
    """Write the first lines of a conversation under another session id; return whether a message is among them."""
    has_message = False
    partial = copy.with_suffix(_PARTIAL)
    try:
        with open(partial, "wb", opener=open_private) as stream:
            for record in _records(transcript, count):
                has_message |= record["type"] == "user"
                text = json.dumps({**record, "sessionId": session_id}, ensure_ascii=False, separators=(",", ":"))
                stream.write(text.encode("utf-8", "surrogatepass") + b"\n")
        if has_message:
            os.rename(partial, copy)
    finally:
        partial.unlink(missing_ok=True)
    return has_message


def _records(transcript: Path, count: int) -> Iterator[dict[str, object]]:
    with open(open_regular(transcript), "rb") as stream:
        for _, line in zip(range(count), stream, strict=False):
            record = parse_object(line)
            if record is not None and record.get("type") in _TYPES and record.get("isSidechain") is not True:
                yield record
