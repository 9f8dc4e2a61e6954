"""One message's way through a transcript: its arrival, its turn, and how and when that is over. Pure.

Other senders, a person at the terminal, other sessions and the program itself write into the same transcript. A `Turn`
is told every entry and finds out which concern its message.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from dev_sessions.claude.transcript import LAST_REASONS, Entry, ToolUse, digest
from dev_sessions.models import Answer, Outcome, parse_timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass

#: Tools whose work may go on when the turn that called them has its mark of the end (2.1.330).
_AGENT_TOOLS = frozenset({"Agent", "Task"})
#: Seconds between the prompts that one turn begins with, where their turn is not named (2.1.250; measured: 0.001).
_AT_ONCE = 0.5


@fast_dataclass
class Turn:
    """What the transcript says, entry by entry, of one message: its arrival, its turn, and what is queued behind it.

    `command` is set when the message may be a command of the program. Feed it everything that was written since just
    before the message was sent. `arrived` tells that the message is
    in the transcript, `started` that it is no longer queued, `started_at` when. `end` is the program's own mark of
    the end; `seems_ended` the weaker sign where it writes none; both are void again when something follows.
    `is_over`: the turn has its end, so have the messages queued behind it and the subagents that it started; what
    follows (a person's next message, a scheduled job, the end of a background command) is not looked at any more.
    """

    digest: str
    command: str | None = None
    arrived: Literal["submitted", "queued", "command"] | None = None
    started: bool = False
    started_at: str = ""
    end: Outcome | None = None
    seems_ended: bool = False
    open_tools: dict[str, ToolUse] = field(default_factory=dict)
    #: Whose the turn is that is being written: our message's, that of one queued behind it, or none of ours.
    _whose: Literal["ours", "queued behind", "foreign"] = "ours"
    #: How our own turn ended, once another one has begun.
    _own_end: Outcome | None = None
    _ended_at: str = ""
    _ends: list[tuple[str, Outcome]] = field(default_factory=list)
    _texts: list[tuple[str, str]] = field(default_factory=list)
    #: Messages that the turn which is being written was given, the last prompt that began it, and when something was
    #: first said or done after that.
    _given: int = 0
    _prompt: Entry | None = None
    _worked_at: str = ""
    _answers: int = 1
    #: The digest of each, and its first word.
    _queued_behind: list[tuple[str, str]] = field(default_factory=list)
    _agents: set[str] = field(default_factory=set)
    _closed: bool = False

    def feed(self, entry: Entry) -> None:
        """Take one more entry into account."""
        if self._closed:
            return
        if entry.kind in ("reply", "tool_result", "interrupted", "turn_end", "command"):
            self._worked_at = self._worked_at or entry.at
        match entry.kind:
            case "command" if self.arrived != "command" and self._is_our_command(entry):
                self._run_command(entry)
            case "command" if self.own_end is not None:
                self._leave(entry, behind=self._unqueue_command(entry.text))
            case "enqueue":
                self._enqueue(entry.text)
            case "enqueue_notification" if self.arrived is None and self._is_ours(entry):
                self.arrived = "queued"
            case "unqueue" if entry.texts:
                self._unqueue(entry.text)
            case "unqueue":
                self._queued_behind.clear()
            case "queued":
                self._merge(entry)
            case "notification" if entry.merged:
                self._agents.difference_update(entry.tool_results)
            case "notification" if not self._agents.isdisjoint(entry.tool_results):
                # What our turn began, or one behind it, goes on.
                self._agents.difference_update(entry.tool_results)
                self._whose = "ours" if self._own_end is None else "queued behind"
                self._void_end()
            case "prompt" | "foreign" | "notification":
                self._next_prompt(entry)
            case "continuation" if self._whose != "foreign":
                self._void_end()
            case "reply":
                self._reply(entry)
            case "tool_result":
                for tool_id in entry.tool_results:
                    self.open_tools.pop(tool_id, None)
                    if entry.agent_is_done:
                        self._agents.discard(tool_id)
                if self._whose != "foreign":
                    self._void_end()
            case "interrupted":
                self.open_tools.clear()
                if self._whose != "foreign":
                    self._agents.clear()
                    self._end(entry, Outcome("interrupted"))
            case "turn_end" if self._whose != "foreign" and self.end is None and entry.at >= self.started_at:
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
    def own_end(self) -> Outcome | None:
        """How the message's own turn ended, with its subagents, whatever is queued behind it; None when it has not."""
        if self._own_end is None and self.started and self._whose == "ours" and not self._agents:
            return self.end
        return self._own_end

    @property
    def reply(self) -> list[str]:
        """The text blocks of the reply to the message so far."""
        return [text for _, text in self._texts]

    @property
    def answer(self) -> Answer:
        """The reply, and how many messages it answers."""
        return Answer(tuple(self.reply), self._answers)

    @property
    def question(self) -> ToolUse | None:
        """The question to the user that stands open, if one does."""
        return next((tool for tool in self.open_tools.values() if tool.name == "AskUserQuestion"), None)

    def _is_ours(self, entry: Entry) -> bool:
        return not self.started and entry.cause is None and digest(entry.text) == self.digest

    def _is_our_command(self, entry: Entry) -> bool:
        """Whether a command is ours. Of one that was sent by another of its names the arguments tell: `/reset` is
        written as `/clear` (2.1.332)."""
        if self.command is None or entry.failed or entry.text == self.command:
            return entry.text == self.command
        return digest(f"{self.command} {entry.arguments}") == self.digest

    def _enqueue(self, text: str) -> None:
        if self.arrived is None and digest(text) == self.digest:
            self.arrived = "queued"
        elif self.arrived is not None:
            self._queued_behind.append((digest(text), _first_word(text)))

    def _unqueue(self, text: str) -> bool:
        """Take a message out of the queue; whether it was queued behind ours."""
        queued = (digest(text), _first_word(text))
        if queued not in self._queued_behind:
            return False
        self._queued_behind.remove(queued)
        return True

    def _unqueue_command(self, name: str) -> bool:
        """The same for a command, of which only the name is known."""
        queued = next((queued for queued in self._queued_behind if queued[1] == name), None)
        if queued is None:
            return False
        self._queued_behind.remove(queued)
        return True

    def _merge(self, entry: Entry) -> None:
        """The running turn took in a message. What was said in it before answers somebody else's alone."""
        # The one that began it, too, though that may have been before we looked.
        self._given = max(1, self._given) + 1
        if self._is_ours(entry):
            self._start(entry, everything_before_is_foreign=True)
        else:
            self._unqueue(entry.text)
        if self.started and self._whose == "ours":
            self._answers = self._given

    def _next_prompt(self, entry: Entry) -> None:
        """A message, or the program's own prompt, begins a turn, or begins one together with those just before it."""
        together = self._is_together(entry)
        self._prompt = entry
        if not together:
            self._given, self._worked_at = 0, ""
        self._given += entry.kind != "notification"
        if entry.kind == "prompt" and self._is_ours(entry):
            self._start(entry, everything_before_is_foreign=self.arrived == "queued")
            self._answers = self._given
            return
        queued_behind = self._unqueue(entry.text)
        if not self.started:
            self._void_end()
        elif together and self._whose == "ours":
            self._answers = self._given
        elif not together:
            self._leave(entry, behind=queued_behind and entry.kind == "prompt")

    def _is_together(self, entry: Entry) -> bool:
        """Whether a prompt begins a turn together with the one before it: nothing was said or done in between."""
        before = self._prompt
        if before is None or not before.at or not entry.at or (self._worked_at and self._worked_at <= entry.at):
            return False
        if (before.cause is None) != (entry.cause is None):
            return False
        if before.turn is not None and entry.turn is not None:
            return before.turn == entry.turn
        return 0 <= parse_timestamp(entry.at) - parse_timestamp(before.at) < _AT_ONCE

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
            self._end(entry, Outcome("failed", f"{entry.text} is no command of this Claude Code"))

    def _leave(self, entry: Entry, *, behind: bool) -> None:
        """Another turn begins: that of a message queued `behind` ours, or one that is no concern of ours."""
        if self._whose == "ours" and self._own_end is None and not self._agents:
            self._own_end = self._settled(entry.at)
        if behind or self._queued_behind or self._agents:
            self._whose = "queued behind" if behind else "foreign"
            self._void_end()
            return
        self._closed = True
        last = self.end if self._whose == "queued behind" else self._own_end
        self.end = last or Outcome("completed")

    def _settled(self, until: str) -> Outcome:
        """How our turn ended, since another one began at a time: within one flush, what that one says may stand before
        its prompt."""
        ends = self._ends
        if self.started_at <= until:
            self._texts = [(at, text) for at, text in self._texts if at < until]
            said = max((at for at, _ in self._texts), default=self.started_at)
            ends = [(at, outcome) for at, outcome in self._ends if said <= at <= until]
        if ends:
            return ends[-1][1]
        return Outcome("completed") if self.seems_ended else Outcome("interrupted", "Claude went on without an answer")

    def _reply(self, entry: Entry) -> None:
        for tool in entry.tool_uses:
            self.open_tools[tool.id] = tool
            if tool.name in _AGENT_TOOLS and self._whose != "foreign":
                self._agents.add(tool.id)
        if self._whose == "foreign":
            return
        if entry.failed:
            self._end(entry, Outcome("failed", entry.text or "the model's service failed"))
            return
        if self._whose == "ours":
            self._texts.extend((entry.at, text) for text in entry.texts)
        self._void_end()
        self.seems_ended = entry.stop_reason in LAST_REASONS

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        self.end = outcome
        self._ended_at = entry.at
        self._ends.append((entry.at, outcome))

    def _void_end(self) -> None:
        self.end = None
        self.seems_ended = False


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0] if text.strip() else ""
