"""Observe the state of a Claude without a visible session file, as in a container, by its terminal and its files.

The terminal's title and the text below the input box show that Claude works, up to 0.1 s before the transcript does. A
dialog replaces the input box. After `/clear` the conversation continues in another transcript, which begins with that
command, and `history.jsonl` holds the conversation in which the command was given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.claude.dialog_keys import await_dialog
from dev_sessions.claude.dialogs import Dialog, read
from dev_sessions.claude.message import is_last_message
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import is_dialog_open, shows_background_shells, shows_work
from dev_sessions.claude.session_file import NOT_WORKING, SessionFile
from dev_sessions.claude.transcript import QUESTION_TOOL, ToolUse, parse
from dev_sessions.claude.transcript_file import Tail, file_size, find_transcript, unanswered_tools
from dev_sessions.errors import ProtocolError, SessionLost
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, parse_timestamp
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.foreign_files import open_regular

#: Seconds between two polls of the terminal while nothing is written.
_POLL_INTERVAL = 1.0
#: Seconds for which Claude must be idle if its transcript does not say why. Between two turns it is idle for 0.03.
_REST_TIME = 0.35
#: Seconds without a new entry after which Claude counts as idle: with the last message in the box, and without a known
#: reason. A box may still show what was submitted: with 100 KB on a busy machine for more than two seconds.
_RESTORED_DELAY = 1.5
_SILENCE_TIMEOUT = 10.0
#: Bytes to read at the end of a transcript for its last entry, and at the beginning for the first.
_END_BYTES = 1 << 18
_BEGINNING_BYTES = 1 << 14
_CLEARS = frozenset({"/clear", "/reset", "/new"})
#: Seconds by which a file may seem older than its session, and a conversation older than the /clear that began it.
_FILE_CLOCK_TOLERANCE = 1.0
_ENTRY_CLOCK_TOLERANCE = 0.01


class TerminalState:
    """The observed state of a session. It polls the terminal after something was written, and else once a second."""

    def __init__(self, session: ClaudeSession, config_dir: Path) -> None:
        self._session = session
        self._config_dir = config_dir
        self._pane = AgentPane(session)
        self._last_state: SessionFile | None = None
        self._next_poll = Deadline(0)
        self._transcript: Path | None = None
        self._transcript_size = 0
        self._registered_at = 0.0

    def current(self, reported: SessionFile | None) -> SessionFile:
        """Return the state that the terminal shows. `reported` is the session file, which has no status, or None."""
        if self._last_state is None or self._next_poll.expired or self._has_grown():
            self._last_state = self._poll_terminal(reported)
            self._next_poll = Deadline(_POLL_INTERVAL)
        return self._last_state

    def _poll_terminal(self, reported: SessionFile | None) -> SessionFile:
        first_id = reported.session_id if reported is not None else self._session.internal_id
        if reported is not None:
            self._registered_at = reported.registered_at
        current = current_conversation(self._config_dir, first_id, self._session.created_at)
        self._transcript = find_transcript(self._config_dir, current)
        self._transcript_size = file_size(self._transcript)
        since, before = time.time(), self._last_state
        try:
            status, waiting_for = self._observe()
            ended = _last_turn_end(self._transcript) if status in NOT_WORKING else None
            if ended is not None:
                since = ended
            elif status in NOT_WORKING:
                work = poll(self._observe_work, Deadline(_REST_TIME), POLL_INTERVAL)
                status, waiting_for = work or self._unexplained_rest((status, None))
            elif before is not None and (before.status, before.waiting_for) == (status, waiting_for):
                since = before.status_since
        except (SessionLost, ProtocolError, TimeoutError):
            # A terminal that gives no answer proves nothing; whether the process is alive is checked elsewhere.
            status, waiting_for = "busy", None
        return SessionFile(
            pid=reported.pid if reported is not None else self._session.claude_pid or 0,
            session_id=current,
            status=status,
            status_since=since,
            waiting_for=waiting_for,
            version=reported.version if reported is not None else (),
            registered_at=self._registered_at,
        )

    def _observe_work(self) -> tuple[str, str | None] | None:
        seen = self._observe()
        return seen if seen[0] not in NOT_WORKING else None

    def _unexplained_rest(self, seen: tuple[str, str | None]) -> tuple[str, str | None]:
        """Return the state of an idle Claude whose transcript has no end of a turn: a busy machine writes late."""
        if self._transcript is None:
            return "busy", None
        age = time.time() - self._transcript.stat().st_mtime
        draft = self._pane.box()
        # Escape before the first reply: nothing is written, and the message is back in the box.
        if draft and is_last_message(draft, self._session) and age > _RESTORED_DELAY:
            return seen
        # What an earlier process wrote is not being worked on.
        if self._transcript.stat().st_mtime < self._registered_at:
            return seen
        if age < _SILENCE_TIMEOUT:
            return "busy", None
        # With an open tool call Claude waits for an answer, even if a person has opened something above the dialog.
        return ("waiting", self._waiting_for(None)) if unanswered_tools(self._transcript) else seen

    def _has_grown(self) -> bool:
        return file_size(self._transcript) != self._transcript_size

    def _observe(self) -> tuple[str, str | None]:
        """Return the status and what Claude waits for, in the terms of a session file."""
        snapshot = self._pane.snapshot()
        dialog = read(snapshot.screen, snapshot.width, snapshot.cursor)
        if dialog is not None:
            dialog = await_dialog(self._pane, 0.0)
        if dialog is not None or is_dialog_open(snapshot.screen):
            return "waiting", self._waiting_for(dialog)
        if shows_work(snapshot.title, snapshot.screen):
            return "busy", None
        return ("shell" if shows_background_shells(snapshot.screen) else "idle"), None

    def _waiting_for(self, dialog: Dialog | None) -> str:
        transcript = self._transcript
        # The transcript may lag behind the screen, and some calls are written only once they are decided.

        def open_calls() -> list[ToolUse] | None:
            return unanswered_tools(transcript) or None if transcript is not None else None

        tools = poll(open_calls, Deadline(_REST_TIME), POLL_INTERVAL) or []
        asks_question = any(tool.name == QUESTION_TOOL for tool in tools)
        if dialog.is_question if dialog is not None else asks_question:
            return "input needed"
        # A person may open another dialog with options (/model) while a tool runs.
        asks = dialog is not None and any(option.label.startswith("Yes") for option in dialog.options)
        is_known = bool(tools) or (dialog is not None and dialog.deny_once_option is not None)
        return "permission prompt" if asks and is_known else "dialog open"


def current_conversation(config_dir: Path, first_id: str, created_at: str) -> str:
    """Return the id of a process's current conversation; `first_id` is its first one, and each `/clear` begins another.

    `created_at` is a time before the first `/clear`.
    """
    since = parse_timestamp(created_at) - _FILE_CLOCK_TOLERANCE
    ids = [first_id]
    while (following := _after_clear(config_dir, ids[-1], since)) is not None and following not in ids:
        ids.append(following)
    return ids[-1]


def _after_clear(config_dir: Path, session_id: str, since: float) -> str | None:
    """Return the conversation that a /clear in another one began: the last such command before its first entry."""
    begun = sorted(_conversations_begun_by_clear(config_dir, session_id, since))
    given = sorted(_clear_commands(config_dir, since)) if begun else []
    for at, other in begun:
        before = [origin for time_given, origin in given if time_given <= at + _ENTRY_CLOCK_TOLERANCE]
        if before and before[-1] == session_id:
            return other
    return None


def _conversations_begun_by_clear(config_dir: Path, session_id: str, since: float) -> Iterator[tuple[float, str]]:
    """Yield time and id of the conversations that began with /clear, in the same project."""
    transcript = find_transcript(config_dir, session_id)
    projects = [transcript.parent] if transcript is not None else (config_dir / "projects").glob("*")
    for project in projects:
        # A new transcript changes the modification time of its folder, so most folders need not be read.
        if project.is_dir() and project.stat().st_mtime >= since:
            for path in project.glob("*.jsonl"):
                at = _clear_time(path) if path.stem != session_id and _is_newer(path, since) else None
                if at is not None:
                    yield at, path.stem


def _is_newer(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except OSError:
        return False


def _clear_time(transcript: Path) -> float | None:
    try:
        with open(open_regular(transcript), "rb") as stream:
            beginning = stream.read(_BEGINNING_BYTES)
    except OSError:
        return None
    for line in beginning.split(b"\n")[:-1]:
        entry = parse(line)
        if entry.kind not in ("other", "command_begins"):
            return parse_timestamp(entry.at) if entry.kind == "command" and entry.text in _CLEARS else None
    return None


def _clear_commands(config_dir: Path, since: float) -> Iterator[tuple[float, str]]:
    """Yield the time and the conversation of each /clear."""
    for line in lines_backward(config_dir / "history.jsonl"):
        try:
            record = json.loads(line)
            at, given, origin = record["timestamp"] / 1000, str(record["display"]), str(record["sessionId"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            continue
        if at < since:
            return
        if given.partition(" ")[0] in _CLEARS:
            yield at, origin


def _last_turn_end(transcript: Path | None) -> float | None:
    """Return when the last turn ended, if the transcript shows that; 0 if there has been no turn."""
    if transcript is None:
        return 0.0
    entries = [parse(line) for line in Tail(transcript, max(0, file_size(transcript) - _END_BYTES)).lines()]
    newest = max((entry for entry in entries if entry.kind != "other"), key=lambda entry: entry.at, default=None)
    return parse_timestamp(newest.at) if newest is not None and newest.ends_turn and newest.at else None
