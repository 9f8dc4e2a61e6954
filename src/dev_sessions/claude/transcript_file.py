"""Find a transcript, and read it from an offset or backwards from its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from dev_sessions.claude.transcript import (
    CONTINUATION_WORDS,
    TURN_STARTERS,
    Entry,
    Kind,
    ToolUse,
    continued_in,
    link,
    parse,
)
from dev_sessions.jsonl import SEARCH, line_between, lines_backward
from dev_sessions.models import parse_timestamp
from dev_sessions.system.foreign_files import open_regular

#: Seconds by which a transcript may lag behind the session file: on an idle machine (measured: at most 0.11), which are
#: enough where other signs agree, and on a busy one (measured: more than 1).
FLUSH_DELAY, MAX_FLUSH_DELAY = 0.3, 2.0
#: Number of lines that may be flushed together, in any order.
_FLUSH_LINES = 30
#: Number of lines at the end that are searched for what Claude writes there last; some of its own follow (measured: 7).
_LAST_LINES = 12
#: Number of lines that are searched for messages without a reply.
_UNANSWERED_LINES = 200


def find_transcript(config_dir: Path, session_id: str) -> Path | None:
    """Return the transcript of a session, `<config>/projects/<any>/<session>.jsonl`, or None before it is written.

    The program names the project folder after the working directory by rules of its own, so all folders are searched;
    the session's UUID is unique. Anything of that name that is not a file (a folder, a pipe) is ignored.
    """
    try:
        with os.scandir(config_dir / "projects") as entries:
            for entry in entries:
                path = os.path.join(entry.path, f"{session_id}.jsonl")
                if os.path.isfile(path):
                    return Path(path)
    except OSError:
        return None
    return None


def continued_session_id(path: Path) -> str | None:
    """Return the session id under which a conversation continues in Claude's background, or None.

    The line that says so may be followed by others of the program about itself, which have no `uuid` (2.1.332).
    """
    for line in lines_backward(path):
        if (found := continued_in(line)) is not None:
            return found
        if b'"uuid"' in line:
            break
    return None


def file_size(path: Path | None) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    try:
        return os.stat(path).st_size if path is not None else 0
    except OSError:
        return 0


def is_line_start(path: Path, offset: int) -> bool:
    """Return whether a line begins at an offset.

    False means that the file was truncated or replaced after it was read up to there.
    """
    if offset == 0:
        return True
    try:
        with open(open_regular(path), "rb") as stream:
            stream.seek(offset - 1)
            return stream.read(1) == b"\n"
    except FileNotFoundError:
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Tail:
    """The complete lines of a growing file from an offset on. A partial last line is kept until it is complete.

    A line of more than `LONGEST_LINE` bytes lacks its middle (`jsonl.CUT`).
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self._offset = offset
        self._line_start = offset  # of the last line, which is not complete yet
        self._file = _identity(path)

    @property
    def is_replaced(self) -> bool:
        """Return whether the file was truncated or replaced since it was read."""
        unchanged = file_size(self.path) == self._offset and _identity(self.path) == self._file
        if unchanged:
            return False
        self._file = _identity(self.path)
        return file_size(self.path) < self._offset or not is_line_start(self.path, self._line_start)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that were completed since the last call."""
        if file_size(self.path) <= self._offset:
            return
        with open(open_regular(self.path), "rb", buffering=0) as stream:
            stream.seek(self._offset)
            while chunk := stream.read(SEARCH):
                position, self._offset = self._offset, self._offset + len(chunk)
                first = chunk.find(b"\n")
                if first < 0:
                    continue
                line = line_between(stream.fileno(), self._line_start, position + first)
                *others, partial = chunk[first + 1 :].split(b"\n")
                self._line_start = self._offset - len(partial)
                yield line
                yield from others


def announces_continuation(path: Path | None) -> bool:
    """Return whether one of the last lines may say that Claude will continue by itself after a usage limit."""
    lines = lines_backward(path) if path is not None else iter(())
    return any(CONTINUATION_WORDS in line for line in islice(lines, _LAST_LINES))


def subagent_transcripts(transcript: Path) -> list[Path]:
    """Return the transcripts of a conversation's subagents."""
    return sorted((transcript.with_suffix("") / "subagents").glob("*.jsonl"))


def entries_since(transcript: Path, since: float, *, sidechain: bool = False) -> list[Entry]:
    """Return the entries written since a time, oldest first. Those of one flush may be out of order.

    With `sidechain`, a subagent's entries are included.
    """
    entries: list[Entry] = []
    older = 0
    for line in lines_backward(transcript):
        entry = parse(line, sidechain=sidechain)
        if entry.at and parse_timestamp(entry.at) < since:
            older += 1
            if older > _FLUSH_LINES:
                break
        else:
            entries.append(entry)
    return entries[::-1]


def unanswered_tools(transcript: Path) -> list[ToolUse]:
    """Return the tool calls of the last turn that have no result yet, newest first."""
    entries = last_turn(transcript, TURN_STARTERS)
    if any(entry.kind == "interrupted" for entry in entries):
        return []
    answered = {tool_id for entry in entries for tool_id in entry.tool_results}
    return [tool for entry in reversed(entries) for tool in reversed(entry.tool_uses) if tool.id not in answered]


def unanswered_messages(transcript: Path) -> list[str]:
    """Return the messages that no reply follows: prompts of the last turn, and those that have left the queue since.

    They are those that an interrupted Claude may have put back into its input box. The oldest is the first.
    """
    prompts: list[tuple[Entry, str | None]] = []
    unqueued: list[Entry] = []
    follows: dict[str | None, str | None] = {}
    interrupted: list[str | None] = []
    replied_at = ""
    for number, line in enumerate(lines_backward(transcript)):
        entry, (own, before) = parse(line), link(line)
        follows[own] = before
        if entry.kind == "reply":
            replied_at = max(replied_at, entry.at)
        elif entry.kind == "interrupted" and entry.message_id is None:
            interrupted.append(before)
        elif entry.kind == "unqueue" and entry.texts and not prompts:
            unqueued.append(entry)
        elif entry.kind == "prompt" and all(_is_same_turn(entry, later) for later, _ in prompts):
            prompts.append((entry, own))
        elif entry.kind == "prompt" or number > _UNANSWERED_LINES:
            break
    # An interruption that belongs to a prompt follows it, and then the prompt stays in the conversation.
    kept = {own for end in interrupted for own in _ancestors(end, follows)}
    found = [*(entry for entry, own in prompts[::-1] if own not in kept), *unqueued[::-1]]
    return [entry.text for entry in found if entry.at > replied_at]


def _ancestors(own: str | None, follows: Mapping[str | None, str | None]) -> Iterator[str]:
    """Yield the id of an entry and those of the entries that it follows, as far as they are known."""
    seen: set[str] = set()
    while own is not None and own not in seen:
        seen.add(own)
        yield own
        own = follows.get(own)


def _is_same_turn(prompt: Entry, later: Entry) -> bool:
    # 2.1.250 takes up queued messages one at a time. The number of a turn that was taken back is used again.
    return prompt.turn is not None and prompt.turn == later.turn and prompt.follows != later.follows


def tool_result_entry(transcript: Path, tool_id: str) -> Entry | None:
    """Return the entry with the result of a tool call, or None while there is none."""
    needle = tool_id.encode()
    for line in lines_backward(transcript):
        if needle not in line:
            continue
        entry = parse(line)
        if tool_id in entry.tool_results:
            return entry
        if any(tool.id == tool_id for tool in entry.tool_uses):
            return None
    return None


def answered_calls(transcript: Path, name: str) -> list[ToolUse]:
    """Return the last turn's calls of a tool that have a result, oldest first."""
    entries = last_turn(transcript, TURN_STARTERS)
    answered = {tool_id for entry in entries for tool_id in entry.tool_results}
    return [tool for entry in entries for tool in entry.tool_uses if tool.name == name and tool.id in answered]


def last_turn(transcript: Path, prompts: frozenset[Kind]) -> list[Entry]:
    """Return the entries since the last entry of a kind in `prompts`, including it, oldest first.

    Within one flush the prompt may be written after the entries that follow it (2.1.300), so entries before it count
    if their time is not earlier.
    """
    entries: list[Entry] = []
    prompt: Entry | None = None
    further = 0
    for line in lines_backward(transcript):
        entry = parse(line)
        further += prompt is not None
        if prompt is not None and (further > _FLUSH_LINES or "" < entry.at < prompt.at):
            break
        if entry.kind != "other":
            entries.append(entry)
        if prompt is None and entry.kind in prompts and not entry.merged:
            prompt = entry
    return entries[::-1]
