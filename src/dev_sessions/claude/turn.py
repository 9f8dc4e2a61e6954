"""One message's way through a transcript: its arrival, its turn, and how and when that is over. Pure.

Two senders, a person at the terminal and the program itself write into the same transcript. A `Turn` is told every
entry and finds out which concern its message.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from dev_sessions.claude.transcript import LAST_REASONS, Entry, ToolUse, digest
from dev_sessions.dataclass import dataclass
from dev_sessions.models import Outcome

#: Tools whose work may go on when the turn that called them has its mark of the end (2.1.330).
_AGENT_TOOLS = frozenset({"Agent", "Task"})


@dataclass
class Turn:
    """What the transcript says, entry by entry, of one message: its arrival, its turn, and what is queued behind it.

    `command` is set when the message may be a command of the program. Feed it everything that was written since just
    before the message was sent. `arrived` tells that the message is
    in the transcript, `started` that it is no longer queued, `started_at` when. `end` is the program's own mark of
    the end; `seems_ended` the weaker sign where a version writes none; both are void again when something follows.
    `is_over`: the turn has its end, so have the messages queued behind it and the subagents that it started; what
    follows (a person's next message, the end of a background command) is not looked at any more.
    """

    digest: str
    command: str | None = None
    arrived: Literal["submitted", "queued", "command"] | None = None
    started: bool = False
    started_at: str = ""
    end: Outcome | None = None
    seems_ended: bool = False
    open_tools: dict[str, ToolUse] = field(default_factory=dict)
    _ended_at: str = ""
    _texts: list[tuple[str, str]] = field(default_factory=list)
    _own: bool = True
    _queued_behind: list[str] = field(default_factory=list)
    _agents: set[str] = field(default_factory=set)
    _closed: bool = False

    def feed(self, entry: Entry) -> None:
        """Take one more entry into account."""
        if self._closed:
            return
        match entry.kind:
            case "command" if self.arrived != "command" and self._is_our_command(entry):
                self._run_command(entry)
            case "enqueue":
                self._enqueue(digest(entry.text))
            case "enqueue_notification" if self.arrived is None and self._is_ours(entry):
                self.arrived = "queued"
            case "unqueue":
                self._unqueue(digest(entry.text) if entry.texts else None)
            case "queued" if not self.started and self._is_ours(entry):
                # Merged into the running turn: what was said in it before answers somebody else.
                self._start(entry, everything_before_is_foreign=True)
            case "queued":
                self._unqueue(digest(entry.text))
            case "prompt" if not self.started and self._is_ours(entry):
                self._start(entry, everything_before_is_foreign=self.arrived == "queued")
            case "prompt" | "notification":
                self._next_turn(entry)
            case "reply":
                self._reply(entry)
            case "tool_result":
                for tool_id in entry.tool_results:
                    self.open_tools.pop(tool_id, None)
                    if entry.agent_is_done:
                        self._agents.discard(tool_id)
                self._void_end()
            case "interrupted":
                self._end(entry, Outcome("interrupted"))
                self.open_tools.clear()
                self._agents.clear()
            case "turn_end" if self.end is None and entry.at >= self.started_at:
                self._end(entry, Outcome("completed"))

    @property
    def is_unknown_command(self) -> bool:
        """Whether the program said that it knows no such command."""
        return self.arrived == "command" and self.end is not None and self.end.status == "failed"

    @property
    def is_over(self) -> bool:
        """Whether the turn has ended by the program's own mark, with everything that belongs to it."""
        return self.started and self.end is not None and not self._queued_behind and not self._agents

    @property
    def reply(self) -> list[str]:
        """The text blocks of the reply to the message so far."""
        return [text for _, text in self._texts]

    @property
    def question(self) -> ToolUse | None:
        """The question to the user that stands open, if one does."""
        return next((tool for tool in self.open_tools.values() if tool.name == "AskUserQuestion"), None)

    def _is_ours(self, entry: Entry) -> bool:
        return digest(entry.text) == self.digest

    def _is_our_command(self, entry: Entry) -> bool:
        """Whether a command is ours. Of one that was sent by another of its names the arguments tell: `/reset` is
        written as `/clear` (2.1.332)."""
        if self.command is None or entry.failed or entry.text == self.command:
            return entry.text == self.command
        return digest(f"{self.command} {entry.arguments}") == self.digest

    def _enqueue(self, queued: str) -> None:
        if self.arrived is None and queued == self.digest:
            self.arrived = "queued"
        elif self.arrived is not None:
            self._queued_behind.append(queued)

    def _unqueue(self, queued: str | None) -> None:
        if queued is None:
            self._queued_behind.clear()
        elif queued in self._queued_behind:
            self._queued_behind.remove(queued)

    def _start(self, entry: Entry, *, everything_before_is_foreign: bool) -> None:
        self.arrived = self.arrived or "submitted"
        self.started = True
        self.started_at = entry.at
        if everything_before_is_foreign:
            self._texts.clear()
            self._agents.clear()
            self._void_end()
        else:
            # Within one flush a reply or an end may precede its prompt; the end before it may follow our offset.
            self._texts = [(at, text) for at, text in self._texts if at >= entry.at]
            if not self._texts and self._ended_at < entry.at:
                self._void_end()

    def _run_command(self, entry: Entry) -> None:
        """A command of the program ran; most need no turn of the model, some begin one."""
        self._start(entry, everything_before_is_foreign=self.arrived == "queued")
        self.arrived = "command"
        self.seems_ended = True
        if entry.failed:
            self.end = Outcome("failed", f"{entry.text} is no command of this Claude Code")

    def _next_turn(self, entry: Entry) -> None:
        """Somebody else's message, or the program's own, starts a turn, or joins one that has said nothing yet."""
        ended = self.end is not None or self.seems_ended
        if self.started and ended and not self._queued_behind and not self._agents:
            self._closed = True
            self.end = self.end or Outcome("completed")
            return
        if entry.kind == "notification":
            self._agents.discard(entry.text)
        else:
            self._unqueue(digest(entry.text))
            if self.started and (self._texts or self.end):
                self._own = False
        self._void_end()

    def _reply(self, entry: Entry) -> None:
        for tool in entry.tool_uses:
            self.open_tools[tool.id] = tool
            if tool.name in _AGENT_TOOLS:
                self._agents.add(tool.id)
        if entry.failed:
            self._end(entry, Outcome("failed", entry.text or "the model's service failed"))
            return
        if self._own:
            self._texts.extend((entry.at, text) for text in entry.texts)
        self._void_end()
        self.seems_ended = entry.stop_reason in LAST_REASONS

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        self.end = outcome
        self._ended_at = entry.at

    def _void_end(self) -> None:
        self.end = None
        self.seems_ended = False
