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

from dev_sessions.claude.dialog_keys import await_dialog
from dev_sessions.claude.dialogs import Dialog, read
from dev_sessions.claude.message import is_last_message
from dev_sessions.claude.pane import POLL_INTERVAL, AgentPane
from dev_sessions.claude.screen import is_dialog_open, shows_background_shells, shows_work
from dev_sessions.claude.session_file import NOT_WORKING, SessionFile
from dev_sessions.claude.transcript import parse
from dev_sessions.claude.transcript_file import Tail, file_size, find_transcript, unanswered_tools
from dev_sessions.errors import ProtocolError, SessionLost
from dev_sessions.jsonl import lines_backward
from dev_sessions.models import ClaudeSession, parse_timestamp
from dev_sessions.system.deadline import Deadline, poll

#: Seconds between two looks at a terminal while nothing is written.
_POLL_INTERVAL = 1.0
#: Seconds that Claude must be at rest when its transcript does not say why. Between two turns it rests for 0.03.
_REST_TIME = 0.35
#: Seconds without a written word after which a rest is believed: with the last message in the box, and unexplained. A
#: box may show for long what was taken out of it: with 100 KB on a busy machine for more than two seconds.
_RESTORED_DELAY = 1.5
_SILENCE_TIMEOUT = 10.0
#: Bytes at the end of a transcript in which its last entry is looked for, and at its beginning for the first.
_END_BYTES = 1 << 18
_BEGINNING_BYTES = 1 << 14
_CLEARS = frozenset({"/clear", "/reset", "/new"})
#: Seconds by which a file may seem older than its session, and a conversation older than the /clear that began it.
_FILE_CLOCK_TOLERANCE = 1.0
_ENTRY_CLOCK_TOLERANCE = 0.01


class TerminalState:
    """One observer of one session. It looks at the terminal when something was written, else once a second."""

    def __init__(self, session: ClaudeSession, config_dir: Path) -> None:
        self._session = session
        self._config_dir = config_dir
        self._pane = AgentPane(session)
        self._last_state: SessionFile | None = None
        self._next_poll = Deadline(0)
        self._transcript: Path | None = None
        self._transcript_size = 0
        self._process_started_at = 0.0

    def complete(self, reported: SessionFile | None) -> SessionFile:
        """What the program tells of itself, with what it leaves out; `told` None when it left no session file."""
        if reported is not None and reported.status is not None:
            return reported
        if self._last_state is None or self._next_poll.expired or self._has_grown():
            self._last_state = self._poll_terminal(reported)
            self._next_poll = Deadline(_POLL_INTERVAL)
        return self._last_state

    def _poll_terminal(self, reported: SessionFile | None) -> SessionFile:
        began = reported.session_id if reported is not None else self._session.internal_id
        if reported is not None:
            self._process_started_at = reported.process_started_at
        current = current_conversation(self._config_dir, began, self._session.created_at)
        self._transcript = find_transcript(self._config_dir, current)
        self._transcript_size = file_size(self._transcript)
        since = time.time()
        try:
            status, waiting_for = self._observe()
            ended = _last_turn_end(self._transcript) if status in NOT_WORKING else None
            if ended is not None:
                since = ended
            elif status in NOT_WORKING:
                status, waiting_for = poll(
                    self._observe_work, Deadline(_REST_TIME), POLL_INTERVAL
                ) or self._unexplained_rest((status, None))
            elif self._last_state is not None and (self._last_state.status, self._last_state.waiting_for) == (
                status,
                waiting_for,
            ):
                since = self._last_state.status_since
        except (SessionLost, ProtocolError, TimeoutError):
            # Whether there is a process at all is asked elsewhere; a terminal that gives no answer ends nothing.
            status, waiting_for = "busy", None
        return SessionFile(
            pid=reported.pid if reported is not None else self._session.claude_pid or 0,
            session_id=current,
            status=status,
            status_since=since,
            waiting_for=waiting_for,
            version=reported.version if reported is not None else (),
            process_started_at=self._process_started_at,
        )

    def _observe_work(self) -> tuple[str, str | None] | None:
        seen = self._observe()
        return seen if seen[0] not in NOT_WORKING else None

    def _unexplained_rest(self, seen: tuple[str, str | None]) -> tuple[str, str | None]:
        """What a rest means that the transcript says nothing of: a busy machine draws and writes late."""
        if self._transcript is None:
            return "busy", None
        age = time.time() - self._transcript.stat().st_mtime
        draft = self._pane.box()
        # Escape before the first word: nothing is written, and the message is back in the box.
        if draft and is_last_message(draft, self._session) and age > _RESTORED_DELAY:
            return seen
        # Of what an earlier process has left, nothing is worked on.
        if self._transcript.stat().st_mtime < self._process_started_at:
            return seen
        if age < _SILENCE_TIMEOUT:
            return "busy", None
        # With a tool open it rests for somebody's answer, though a person has opened something above the dialog.
        return ("waiting", self._waiting_for(None)) if unanswered_tools(self._transcript) else seen

    def _has_grown(self) -> bool:
        return file_size(self._transcript) != self._transcript_size

    def _observe(self) -> tuple[str, str | None]:
        """The status, and for what it waits, in the words of a session file."""
        look = self._pane.snapshot()
        dialog = read(look.screen, look.width, look.cursor)
        if dialog is not None:
            dialog = await_dialog(self._pane, 0.0)
        if dialog is not None or is_dialog_open(look.screen):
            return "waiting", self._waiting_for(dialog)
        if shows_work(look.title, look.screen):
            return "busy", None
        return ("shell" if shows_background_shells(look.screen) else "idle"), None

    def _waiting_for(self, dialog: Dialog | None) -> str:
        transcript = self._transcript
        # The transcript follows the screen; or Claude does not write a call before it is decided.
        tools = (
            poll(
                lambda: unanswered_tools(transcript) or None if transcript else None,
                Deadline(_REST_TIME),
                POLL_INTERVAL,
            )
            or []
        )
        asks_question = any(tool.name == "AskUserQuestion" for tool in tools)
        if dialog.is_question if dialog is not None else asks_question:
            return "input needed"
        # Other dialogs of options (/model) may be opened while a tool runs.
        asks = dialog is not None and any(option.label.startswith("Yes") for option in dialog.options)
        is_known = bool(tools) or (dialog is not None and dialog.deny_once_option is not None)
        return "permission prompt" if asks and is_known else "dialog open"


def current_conversation(config_dir: Path, began: str, created_at: str) -> str:
    """The id of the conversation in which a process is that began with another one: each `/clear` begins a new one.

    `created_at` is a time before any of them.
    """
    since = parse_timestamp(created_at) - _FILE_CLOCK_TOLERANCE
    ids = [began]
    while (following := _after_clear(config_dir, ids[-1], since)) is not None and following not in ids:
        ids.append(following)
    return ids[-1]


def _after_clear(config_dir: Path, session_id: str, since: float) -> str | None:
    """The conversation that was begun by a /clear in another one: the last one given before it began."""
    begun = sorted(_conversations_begun_by_clear(config_dir, session_id, since))
    given = sorted(_clear_commands(config_dir, since)) if begun else []
    for at, other in begun:
        before = [origin for time_given, origin in given if time_given <= at + _ENTRY_CLOCK_TOLERANCE]
        if before and before[-1] == session_id:
            return other
    return None


def _conversations_begun_by_clear(config_dir: Path, session_id: str, since: float) -> Iterator[tuple[float, str]]:
    """Time and id of the conversations of a project that began with /clear."""
    transcript = find_transcript(config_dir, session_id)
    projects = [transcript.parent] if transcript is not None else (config_dir / "projects").glob("*")
    for project in projects:
        # A new transcript changes its folder, so that most folders need not be read.
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
    with open(transcript, "rb") as stream:
        beginning = stream.read(_BEGINNING_BYTES)
    for line in beginning.split(b"\n")[:-1]:
        entry = parse(line)
        if entry.kind != "other":
            return parse_timestamp(entry.at) if entry.kind == "command" and entry.text in _CLEARS else None
    return None


def _clear_commands(config_dir: Path, since: float) -> Iterator[tuple[float, str]]:
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


def _last_turn_end(transcript: Path | None) -> float | None:
    """When the last turn ended, as far as a transcript says that it did; 0 when there has been none."""
    if transcript is None:
        return 0.0
    entries = [parse(line) for line in Tail(transcript, max(0, file_size(transcript) - _END_BYTES)).lines()]
    newest = max((entry for entry in entries if entry.kind != "other"), key=lambda entry: entry.at, default=None)
    return parse_timestamp(newest.at) if newest is not None and newest.ends_turn and newest.at else None
