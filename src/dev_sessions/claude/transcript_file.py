"""Finding a transcript, and reading it from an offset or from its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.claude.transcript import BEGIN_TURNS, Entry, Kind, ToolUse, continued_in, parse
from dev_sessions.jsonl import SEARCH, line_between, lines_backward
from dev_sessions.models import parse_timestamp

#: Lines that may be written at once, in any order.
_ONE_FLUSH = 30


def find_transcript(config_dir: Path, session_id: str) -> Path | None:
    """`<config>/projects/<any>/<session>.jsonl`; None when nothing was written yet.

    The project's folder is named after the working directory by rules of the program's own; the session's UUID is
    unique, so the folders are searched. Whatever else has such a name (a folder, a pipe) is none.
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


def moved_to(path: Path) -> str | None:
    """Return the session id under which a conversation went on in Claude's background, None when it ends in its file.

    Behind the line that says so stand others of the program about itself, which have no `uuid` (2.1.332).
    """
    for line in lines_backward(path):
        if (found := continued_in(line)) is not None:
            return found
        if b'"uuid"' in line:
            break
    return None


def size(path: Path | None) -> int:
    """Bytes in a file; 0 when there is none."""
    try:
        return os.stat(path).st_size if path is not None else 0
    except OSError:
        return 0


def line_begins_at(path: Path, offset: int) -> bool:
    """Whether a file is one of which so many bytes may have been read, line by line: what was read ends with a line.

    False for one that was cut off since, or in whose place another one was put.
    """
    if offset == 0:
        return True
    try:
        with open(path, "rb") as stream:
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
    """The whole lines of a growing file from an offset on; a torn last line is kept until its end is there.

    A line of more than `LONGEST_LINE` bytes comes without its middle (`activity.CUT`).
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.path = path
        self._offset = offset
        self._whole = offset  # where the line begins whose end is not read yet
        self._file = _identity(path)

    @property
    def is_replaced(self) -> bool:
        """Whether what was read is not in the file any more: it was cut off, or another one is in its place."""
        unchanged = size(self.path) == self._offset and _identity(self.path) == self._file
        if unchanged:
            return False
        self._file = _identity(self.path)
        return size(self.path) < self._offset or not line_begins_at(self.path, self._whole)

    def lines(self) -> Iterator[bytes]:
        """Every line that became whole since the last call."""
        if size(self.path) <= self._offset:
            return
        with open(self.path, "rb", buffering=0) as stream:
            stream.seek(self._offset)
            while chunk := stream.read(SEARCH):
                position, self._offset = self._offset, self._offset + len(chunk)
                first = chunk.find(b"\n")
                if first < 0:
                    continue
                line = line_between(stream.fileno(), self._whole, position + first)
                *others, torn = chunk[first + 1 :].split(b"\n")
                self._whole = self._offset - len(torn)
                yield line
                yield from others


def subagent_transcripts(transcript: Path) -> list[Path]:
    """Return the transcripts of a conversation's subagents."""
    return sorted((transcript.with_suffix("") / "subagents").glob("*.jsonl"))


def newer_entries(transcript: Path, since: float, *, sidechain: bool = False) -> list[Entry]:
    """Return what was written from a time on, oldest first. Within one flush, older things may stand among it.

    With `sidechain` the entries of a subagent count, too.
    """
    entries: list[Entry] = []
    older = 0
    for line in lines_backward(transcript):
        entry = parse(line, sidechain=sidechain)
        if entry.at and parse_timestamp(entry.at) < since:
            older += 1
            if older > _ONE_FLUSH:
                break
        else:
            entries.append(entry)
    return entries[::-1]


def unanswered_tools(transcript: Path) -> list[ToolUse]:
    """The tool calls of the newest turn that have no result yet, newest first."""
    entries = newest_turn(transcript, BEGIN_TURNS)
    if any(entry.kind == "interrupted" for entry in entries):
        return []
    answered = {tool_id for entry in entries for tool_id in entry.tool_results}
    return [tool for entry in reversed(entries) for tool in reversed(entry.tool_uses) if tool.id not in answered]


def result_of(transcript: Path, tool_id: str) -> Entry | None:
    """Return the entry with the result of a tool call that is in the transcript; None while there is none."""
    mark = tool_id.encode()
    for line in lines_backward(transcript):
        if mark not in line:
            continue
        entry = parse(line)
        if tool_id in entry.tool_results:
            return entry
        if any(tool.id == tool_id for tool in entry.tool_uses):
            return None
    return None


def newest_call(transcript: Path, name: str) -> ToolUse | None:
    """Return the newest call of a tool in the newest turn; None when there is none."""
    entries = newest_turn(transcript, BEGIN_TURNS)
    calls = (tool for entry in reversed(entries) for tool in reversed(entry.tool_uses))
    return next((tool for tool in calls if tool.name == name), None)


def newest_turn(transcript: Path, prompts: frozenset[Kind]) -> list[Entry]:
    """What was written since the newest of some `prompts`, oldest first: read from the end, and the prompt among it.

    Within one flush the prompt may stand behind what followed it (2.1.300), so what stands before it counts
    as far as its time is not earlier.
    """
    entries: list[Entry] = []
    prompt: Entry | None = None
    further = 0
    for line in lines_backward(transcript):
        entry = parse(line)
        further += prompt is not None
        if prompt is not None and (further > _ONE_FLUSH or "" < entry.at < prompt.at):
            break
        if entry.kind != "other":
            entries.append(entry)
        if prompt is None and entry.kind in prompts and not entry.merged:
            prompt = entry
    return entries[::-1]
