"""What a Claude does whose session file is not seen here, as in a container, as far as it can be seen from outside.

The title of the terminal and the words below the input box tell that it works, up to 0.1 s before the transcript does.
A dialog takes the place of the input box. After `/clear` the conversation goes on in another transcript, whose first
words are that command, and `history.jsonl` holds from which conversation it was given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.claude.dialog_keys import await_shown
from dev_sessions.claude.dialogs import Dialog, read
from dev_sessions.claude.message import is_last_message
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import open_dialog, shows_background, shows_work
from dev_sessions.claude.session_file import NOT_WORKING, SessionFile
from dev_sessions.claude.transcript import parse
from dev_sessions.claude.transcript_file import Tail, find_transcript, size, unanswered_tools
from dev_sessions.errors import ProtocolError, SessionLost
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, parse_timestamp
from dev_sessions.system.deadline import Deadline, poll

#: Seconds between two looks at a terminal while nothing is written.
_NEXT_SNAPSHOT = 1.0
#: Seconds that Claude must be at rest when its transcript does not say why. Between two turns it rests for 0.03.
_REST = 0.35
#: Seconds without a written word after which a rest is believed: with the last message in the box, and unexplained. A
#: box may show for long what was taken out of it: with 100 KB on a busy machine for more than two seconds.
_PUT_BACK = 1.5
_LATE = 10.0
#: Bytes at the end of a transcript in which its last entry is looked for, and at its beginning for the first.
_END = 1 << 18
_BEGINNING = 1 << 14
_CLEARS = frozenset({"/clear", "/reset", "/new"})
#: Seconds by which a file may seem older than its session, and a conversation older than the /clear that began it.
_FILE_CLOCK = 1.0
_ENTRY_CLOCK = 0.01


class TerminalState:
    """One observer of one session. It looks at the terminal when something was written, else once a second."""

    def __init__(self, session: ClaudeSession, config_dir: Path) -> None:
        self._session = session
        self._config_dir = config_dir
        self._pane = AgentPane(session)
        self._seen: SessionFile | None = None
        self._next_look = Deadline(0)
        self._transcript: Path | None = None
        self._written = 0
        self._began = 0.0

    def complete(self, told: SessionFile | None) -> SessionFile:
        """What the program tells of itself, with what it leaves out; `told` None when it left no session file."""
        if told is not None and told.status is not None:
            return told
        if self._seen is None or self._next_look.expired or self._has_grown():
            self._seen = self._look(told)
            self._next_look = Deadline(_NEXT_SNAPSHOT)
        return self._seen

    def _look(self, told: SessionFile | None) -> SessionFile:
        began = told.session_id if told is not None else self._session.internal_id
        if told is not None:
            self._began = told.began
        current = conversation(self._config_dir, began, self._session.created_at)
        self._transcript = find_transcript(self._config_dir, current)
        self._written = size(self._transcript)
        since = time.time()
        try:
            status, waiting_for = self._see()
            ended = _ended(self._transcript) if status in NOT_WORKING else None
            if ended is not None:
                since = ended
            elif status in NOT_WORKING:
                status, waiting_for = poll(self._see_work, Deadline(_REST), POLL_INTERVAL) or self._unexplained(
                    (status, None)
                )
            elif self._seen is not None and (self._seen.status, self._seen.waiting_for) == (status, waiting_for):
                since = self._seen.status_since
        except (SessionLost, ProtocolError, TimeoutError):
            # Whether there is a process at all is asked elsewhere; a terminal that gives no answer ends nothing.
            status, waiting_for = "busy", None
        return SessionFile(
            pid=told.pid if told is not None else self._session.claude_pid or 0,
            session_id=current,
            status=status,
            status_since=since,
            waiting_for=waiting_for,
            version=told.version if told is not None else (),
            began=self._began,
        )

    def _see_work(self) -> tuple[str, str | None] | None:
        seen = self._see()
        return seen if seen[0] not in NOT_WORKING else None

    def _unexplained(self, seen: tuple[str, str | None]) -> tuple[str, str | None]:
        """What a rest means that the transcript says nothing of: a busy machine draws and writes late."""
        if self._transcript is None:
            return "busy", None
        age = time.time() - self._transcript.stat().st_mtime
        draft = self._pane.box()
        # Escape before the first word: nothing is written, and the message is back in the box.
        if draft and is_last_message(draft, self._session) and age > _PUT_BACK:
            return seen
        # Of what an earlier process has left, nothing is worked on.
        if self._transcript.stat().st_mtime < self._began:
            return seen
        if age < _LATE:
            return "busy", None
        # With a tool open it rests for somebody's answer, though a person has opened something above the dialog.
        return ("waiting", self._waiting_for(None)) if unanswered_tools(self._transcript) else seen

    def _has_grown(self) -> bool:
        return size(self._transcript) != self._written

    def _see(self) -> tuple[str, str | None]:
        """The status, and for what it waits, in the words of a session file."""
        look = self._pane.look()
        dialog = read(look.screen, look.width, look.cursor)
        if dialog is not None:
            dialog = await_shown(self._pane, 0.0)
        if dialog is not None or open_dialog(look.screen):
            return "waiting", self._waiting_for(dialog)
        if shows_work(look.title, look.screen):
            return "busy", None
        return ("shell" if shows_background(look.screen) else "idle"), None

    def _waiting_for(self, dialog: Dialog | None) -> str:
        transcript = self._transcript
        # The transcript follows the screen; or Claude does not write a call before it is decided.
        tools = (
            poll(lambda: unanswered_tools(transcript) or None if transcript else None, Deadline(_REST), POLL_INTERVAL)
            or []
        )
        asks_question = any(tool.name == "AskUserQuestion" for tool in tools)
        if dialog.is_question if dialog is not None else asks_question:
            return "input needed"
        # Other dialogs of options (/model) may be opened while a tool runs.
        asks = dialog is not None and any(option.label.startswith("Yes") for option in dialog.options)
        is_known = bool(tools) or (dialog is not None and dialog.denies_once is not None)
        return "permission prompt" if asks and is_known else "dialog open"


def conversation(config_dir: Path, began: str, created_at: str) -> str:
    """The id of the conversation in which a process is that began with another one: each `/clear` begins a new one.

    `created_at` is a time before any of them.
    """
    since = parse_timestamp(created_at) - _FILE_CLOCK
    ids = [began]
    while (following := _after_clear(config_dir, ids[-1], since)) is not None and following not in ids:
        ids.append(following)
    return ids[-1]


def _after_clear(config_dir: Path, session_id: str, since: float) -> str | None:
    """The conversation that was begun by a /clear in another one: the last one given before it began."""
    begun = sorted(_begun_by_clear(config_dir, session_id, since))
    given = sorted(_clears(config_dir, since)) if begun else []
    for at, other in begun:
        before = [origin for moment, origin in given if moment <= at + _ENTRY_CLOCK]
        if before and before[-1] == session_id:
            return other
    return None


def _begun_by_clear(config_dir: Path, session_id: str, since: float) -> Iterator[tuple[float, str]]:
    """Time and id of the conversations of a project that began with /clear."""
    transcript = find_transcript(config_dir, session_id)
    projects = [transcript.parent] if transcript is not None else (config_dir / "projects").glob("*")
    for project in projects:
        # A new transcript changes its folder, so that most folders need not be read.
        if project.is_dir() and project.stat().st_mtime >= since:
            for path in project.glob("*.jsonl"):
                at = _began_with_clear(path) if path.stem != session_id and _is_newer(path, since) else None
                if at is not None:
                    yield at, path.stem


def _is_newer(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False


def _began_with_clear(transcript: Path) -> float | None:
    with open(transcript, "rb") as stream:
        beginning = stream.read(_BEGINNING)
    for line in beginning.split(b"\n")[:-1]:
        entry = parse(line)
        if entry.kind != "other":
            return parse_timestamp(entry.at) if entry.kind == "command" and entry.text in _CLEARS else None
    return None


def _clears(config_dir: Path, since: float) -> Iterator[tuple[float, str]]:
    """When /clear was given, and in which conversation."""
    for line in lines_backward(config_dir / "history.jsonl"):
        try:
            record = json.loads(line)
            at, given, origin = record["timestamp"] / 1000, str(record["display"]), str(record["sessionId"])
        except (ValueError, KeyError, TypeError):
            continue
        if at < since:
            return
        if given.partition(" ")[0] in _CLEARS:
            yield at, origin


def _ended(transcript: Path | None) -> float | None:
    """When the last turn ended, as far as a transcript says that it did; 0 when there has been none."""
    if transcript is None:
        return 0.0
    entries = [parse(line) for line in Tail(transcript, max(0, size(transcript) - _END)).lines()]
    newest = max((entry for entry in entries if entry.kind != "other"), key=lambda entry: entry.at, default=None)
    return parse_timestamp(newest.at) if newest is not None and newest.ends_turn and newest.at else None
