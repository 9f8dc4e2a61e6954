"""Follow one message through a transcript: its arrival, its turn, and how that ended. Pure.

Other senders, a person at the terminal, other sessions and the program itself write into the same transcript. A `Turn`
is fed every entry and finds those that concern its message.
"""

from __future__ import annotations

from typing import Literal

from dev_sessions.claude.message_text import digest
from dev_sessions.claude.transcript import FINAL_STOP_REASONS, PROMPT_HOOK, QUESTION_TOOL, Entry, ToolUse
from dev_sessions.models import Answer, Outcome, parse_timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass, field, replace

#: Tools that may run on after the end of the turn that called them (2.1.330).
_AGENT_TOOLS = frozenset({"Agent", "Task"})
#: Seconds between the prompts of one turn, if they have no turn number (2.1.250; measured: 0.001).
_SAME_TURN_GAP = 0.5


@fast_dataclass
class Turn:
    """The turn of one message, as far as a transcript shows it. Feed it every entry since just before the message.

    `command` is set when the message may be a command of the program. `arrived`: how the message got into the
    transcript. `started`: it is no longer queued; `started_at`: since when. `end`: the outcome, by the program's own
    mark of the end; `seems_ended`: by a weaker sign, if there is no mark. Both are reset when the turn continues.
    `is_over`: the turn has ended, with the messages queued after it and the subagents that it started. Entries that
    follow (a person's next message, a scheduled job, the end of a background command) are ignored.
    """

    digest: str
    command: str | None = None
    arrived: Literal["submitted", "queued", "command"] | None = None
    started: bool = False
    started_at: str = ""
    end: Outcome | None = None
    #: What a hook said that blocked the message.
    blocked_by: str | None = None
    seems_ended: bool = False
    #: The outcome of the turn that is being written, if a hook of the user's has stopped it.
    stopped: Outcome | None = None
    #: A command has begun, of which nothing is written if it is cancelled.
    command_began: bool = False
    open_tools: dict[str, ToolUse] = field(default_factory=dict)
    #: The owner of the turn that is being written: the message, one queued later, or neither.
    _owner: Literal["own", "queued later", "foreign"] = "own"
    #: The outcome of the message's own turn, once another one has begun.
    _own_end: Outcome | None = None
    _ended_at: str = ""
    _ends: list[tuple[str, Outcome]] = field(default_factory=list)
    _texts: list[tuple[str, str]] = field(default_factory=list)
    #: The number of messages in the turn that is being written, the last prompt at its beginning, and the time of the
    #: first reply or tool result after that.
    _messages_in_turn: int = 0
    _prompt: Entry | None = None
    _first_activity: str = ""
    _answers: int = 1
    #: The message was added to a running turn; the API's ids of the replies since the message.
    _was_merged: bool = False
    _message_ids: set[str] = field(default_factory=set)
    #: The digest and the first word of each message queued after this one.
    _queued_later: list[tuple[str, str]] = field(default_factory=list)
    #: The calls whose subagents have not reported, and the call of each subagent.
    _agents: set[str] = field(default_factory=set)
    _calls: dict[str, str] = field(default_factory=dict)
    _is_closed: bool = False

    def feed(self, entry: Entry) -> None:
        """Process the next entry."""
        if self._is_closed:
            return
        if entry.kind in ("reply", "tool_result", "interrupted", "turn_end", "command"):
            self._first_activity = self._first_activity or entry.at
        match entry.kind:
            case "command" if self.arrived != "command" and self._is_own_command(entry):
                self._record_command(entry)
            case "command" if self.own_end is not None:
                self._begin_other_turn(entry, queued_later=self._remove_queued_command(entry.text))
            case "enqueue":
                self._enqueue(entry.text)
            case "enqueue_notification" if self.arrived is None and self._is_own_message(entry):
                self.arrived = "queued"
            case "unqueue" if entry.texts:
                self._remove_queued(entry.text)
            case "unqueue":
                self._queued_later.clear()
            case "queued":
                self._merge(entry)
            case "notification" if entry.merged:
                self._agents -= self._reported(entry)
            case "notification" if self._agents & self._reported(entry):
                # The end of a subagent of this turn, or of one queued later, continues that turn.
                self._agents -= self._reported(entry)
                self._owner = "own" if self._own_end is None else "queued later"
                self._reset_end()
            case "prompt" | "foreign" | "notification":
                self._next_prompt(entry)
            case "continuation":
                self._continue(entry)
            case "will_continue" if self._owner != "foreign" and self.end is not None:
                self._announce_continuation(self.end.resets_at or entry.at)
            case "wont_continue":
                self._announce_continuation(None)
            case "reply":
                self._reply(entry)
            case "tool_result":
                for tool_id in entry.tool_results:
                    self.open_tools.pop(tool_id, None)
                    if entry.agent_is_done:
                        self._agents.discard(tool_id)
                    if entry.agent_runs_on and self._owner != "foreign":
                        self._agents.add(tool_id)
                    if entry.agent is not None and tool_id in self._agents:
                        self._calls[entry.agent] = tool_id
                if self._owner != "foreign":
                    self._reset_end()
            case "agent_began" if self.started and self._owner != "foreign":
                self._agents.update(entry.tool_results)
            case "agents_stopped":
                self._agents.clear()
            case "command_begins":
                self.command_began = True
            case "stopped" if self.started and self._owner != "foreign":
                error = f"{entry.text} (a {entry.cause} hook stopped the turn)"
                # The end follows, behind other calls' results; without a mark if the hook was that of the prompt.
                self.stopped, self.seems_ended = Outcome("failed", error, "hook"), True
            case "blocked" if not self.started and digest(entry.texts[0]) == self.digest:
                self._block(entry)
            case "blocked":
                self._remove_queued(entry.texts[0])
            case "interrupted" if self._is_of_turn_before(entry):
                pass
            case "interrupted":
                self.open_tools.clear()
                if self._owner != "foreign":
                    self._agents.clear()
                    self._end(entry, Outcome("interrupted"))
            case "turn_end" if self._owner != "foreign" and self.end is None and entry.at >= self.started_at:
                self._end(entry, self.stopped or Outcome("completed"))

    @property
    def is_unknown_command(self) -> bool:
        """Return whether the program answered that it has no such command."""
        return self.arrived == "command" and self.end is not None and self.end.status == "failed"

    @property
    def is_unanswered(self) -> bool:
        """Return whether the message began a turn in which no reply has begun."""
        return self.started and self.arrived != "command" and not self._was_merged and not self._message_ids

    @property
    def is_over(self) -> bool:
        """Return whether the turn has ended by the program's own mark, with everything that belongs to it."""
        return self.started and self.end is not None and not self._queued_later and not self._agents

    @property
    def awaits_agents(self) -> bool:
        """Return whether subagents that the turn started have not reported yet."""
        return bool(self._agents)

    @property
    def own_end(self) -> Outcome | None:
        """Return the outcome of the message's own turn, subagents included, or None while it runs."""
        if self._own_end is None and self.started and self._owner == "own" and not self._agents:
            return self.end
        return self._own_end

    @property
    def reply(self) -> list[str]:
        """Return the text blocks of the reply so far."""
        return [text for _, text in self._texts]

    @property
    def answer(self) -> Answer:
        """Return the reply, and the number of messages that it answers."""
        return Answer(tuple(self.reply), self._answers)

    @property
    def question(self) -> ToolUse | None:
        """Return the call of the question that is open, if any."""
        return next((tool for tool in self.open_tools.values() if tool.name == QUESTION_TOOL), None)

    def _reported(self, entry: Entry) -> set[str]:
        """Return the calls that a notification is about; it may name the subagent instead."""
        return {self._calls.get(name, name) for name in entry.tool_results}

    def _is_own_message(self, entry: Entry) -> bool:
        if self.started or entry.cause is not None:
            return False
        return digest(entry.text) == self.digest or self._is_own_skill(entry)

    def _is_own_skill(self, entry: Entry) -> bool:
        """Return whether a prompt is this command, which runs a skill of another name: `/review` is written as
        `/code-review` (2.1.332)."""
        name, _, arguments = entry.text.partition(" ")
        is_command = self.command is not None and self.command_began and name.startswith("/")
        return is_command and digest(f"{self.command} {arguments}") == self.digest

    def _is_of_turn_before(self, entry: Entry) -> bool:
        """Return whether an interruption ended the turn before the message's, although it is written after it."""
        return self.is_unanswered and self._owner == "own" and entry.message_id is not None

    def _is_own_command(self, entry: Entry) -> bool:
        """Return whether an entry is this command. If the names differ, the arguments decide: `/reset` is written as
        `/clear` (2.1.332)."""
        if self.command is None or entry.failed or entry.text == self.command:
            return entry.text == self.command
        return digest(f"{self.command} {entry.arguments}") == self.digest

    def _enqueue(self, text: str) -> None:
        if self.arrived is None and digest(text) == self.digest:
            self.arrived = "queued"
        elif self.arrived is not None:
            self._queued_later.append((digest(text), _first_word(text)))

    def _remove_queued(self, text: str) -> bool:
        """Remove a message from the queue; return whether it was queued after this one."""
        queued = (digest(text), _first_word(text))
        if queued not in self._queued_later:
            return False
        self._queued_later.remove(queued)
        return True

    def _remove_queued_command(self, name: str) -> bool:
        """Remove a command from the queue, of which only the name is known; return whether it was queued after this."""
        queued = next((queued for queued in self._queued_later if queued[1] == name), None)
        if queued is None:
            return False
        self._queued_later.remove(queued)
        return True

    def _merge(self, entry: Entry) -> None:
        """Add a message to the running turn. Texts before this message answer other messages alone."""
        # At least one message began the turn, perhaps before the first entry that was fed.
        self._messages_in_turn = max(1, self._messages_in_turn) + 1
        if self._is_own_message(entry):
            self._start(entry, drop_earlier=True)
            self._was_merged = True
        else:
            self._remove_queued(entry.text)
        if self.started and self._owner == "own":
            self._answers = self._messages_in_turn

    def _next_prompt(self, entry: Entry) -> None:
        """Begin a turn with a prompt, or add it to the prompts with which the turn has just begun."""
        same_turn = self._begins_same_turn(entry)
        self._prompt = entry
        if not same_turn:
            self._messages_in_turn, self._first_activity = 0, ""
        self._messages_in_turn += entry.kind != "notification"
        if entry.kind == "prompt" and self._is_own_message(entry):
            self._start(entry, drop_earlier=self.arrived == "queued")
            self._answers = self._messages_in_turn
            return
        was_queued = self._remove_queued(entry.text)
        if not self.started:
            self._reset_end()
        elif same_turn and self._owner == "own":
            self._answers = self._messages_in_turn
        elif not same_turn:
            self._begin_other_turn(entry, queued_later=was_queued and entry.kind == "prompt")

    def _begins_same_turn(self, entry: Entry) -> bool:
        """Return whether a prompt begins the same turn as the one before it, with no reply or tool result between."""
        before = self._prompt
        if before is None or not before.at or not entry.at:
            return False
        if self._first_activity and self._first_activity <= entry.at:
            return False
        if (before.cause is None) != (entry.cause is None):
            return False
        if before.follows == entry.follows is not None:
            return False  # the one before was taken back
        if before.turn is not None and entry.turn is not None:
            return before.turn == entry.turn
        return 0 <= parse_timestamp(entry.at) - parse_timestamp(before.at) < _SAME_TURN_GAP

    def _announce_continuation(self, at: str | None) -> None:
        """Record when Claude will continue by itself the turn that a usage limit has ended; None: it will not."""
        if self.end is not None and self.end.reason == "usage_limit":
            self.end = replace(self.end, continues_at=at)
            self._ends.append((self._ended_at, self.end))
        if self._own_end is not None and at is None:
            self._own_end = replace(self._own_end, continues_at=None)

    def _continue(self, entry: Entry) -> None:
        """Continue the turn that was interrupted by a usage limit: that of the message, or one queued after it."""
        self._remove_queued(entry.text)
        if self._own_end is not None and self._own_end.continues_at is not None:
            # What was queued behind the message met the same limit, and is continued in the same turn.
            self._answers += self._owner == "queued later"
            self._own_end, self._owner = None, "own"
        if self._owner != "foreign":
            self._reset_end()

    def _start(self, entry: Entry, *, drop_earlier: bool) -> None:
        self.stopped = None
        self.arrived = self.arrived or "submitted"
        self.started = True
        self.started_at = entry.at
        if drop_earlier:
            self._texts.clear()
            self._message_ids.clear()
            self._agents.clear()
            self._reset_end()
        else:
            # Within one flush a reply or an end may precede its prompt, and the previous turn's end may be among them.
            self._texts = [(at, text) for at, text in self._texts if at >= entry.at]
            if not self._texts and self._ended_at < entry.at:
                self._reset_end()

    def _record_command(self, entry: Entry) -> None:
        """Record that the command ran. Most commands need no turn of the model; some begin one."""
        self._start(entry, drop_earlier=self.arrived == "queued")
        self.arrived = "command"
        self.seems_ended = True
        if entry.failed:
            self._end(entry, Outcome("failed", f"this Claude Code has no command {entry.text}", "invalid_request"))

    def _block(self, entry: Entry) -> None:
        """Record that a hook of the user's has blocked the message, which the model never gets."""
        self.blocked_by = entry.texts[1]
        self._start(entry, drop_earlier=True)
        self._end(entry, Outcome("failed", f"{self.blocked_by} (a {PROMPT_HOOK} hook blocked the message)", "hook"))

    def _begin_other_turn(self, entry: Entry, *, queued_later: bool) -> None:
        """Begin a turn of another message: one `queued_later`, or one that does not concern this message."""
        if self._owner == "own" and self._own_end is None and not self._agents:
            self._own_end = self._outcome_before(entry.at)
        will_continue = self._own_end is not None and self._own_end.continues_at is not None
        # A message that somebody types makes Claude give up the continuation (2.1.332).
        stays = entry.kind in ("foreign", "notification") and will_continue
        if queued_later or self._queued_later or self._agents or stays:
            self.stopped = None
            self._owner = "queued later" if queued_later else "foreign"
            self._reset_end()
            return
        self._is_closed = True
        last = self.end if self._owner == "queued later" else self._own_end
        self.end = replace(last or Outcome("completed"), continues_at=None)
        self._own_end = replace(self._own_end or self.end, continues_at=None)

    def _outcome_before(self, until: str) -> Outcome:
        """Return the outcome of the own turn, given the time at which another one began.

        Within one flush, texts of the other turn may precede its prompt.
        """
        ends = self._ends
        if self.started_at <= until:
            self._texts = [(at, text) for at, text in self._texts if at < until]
            last_text_at = max((at for at, _ in self._texts), default=self.started_at)
            ends = [(at, outcome) for at, outcome in self._ends if last_text_at <= at <= until]
        if ends:
            return ends[-1][1]
        return Outcome("completed") if self.seems_ended else Outcome("interrupted", "Claude went on without an answer")

    def _reply(self, entry: Entry) -> None:
        for tool in entry.tool_uses:
            self.open_tools[tool.id] = tool
            if tool.name in _AGENT_TOOLS and self._owner != "foreign":
                self._agents.add(tool.id)
        if self._owner == "foreign":
            return
        if entry.failed:
            error = " ".join(entry.text.split()) or "the model's service failed"
            self._end(entry, Outcome("failed", error, entry.reason, entry.resets_at))
            return
        self.stopped = None
        if self._owner == "own":
            self._message_ids.add(entry.message_id or "")
            self._texts.extend((entry.at, text) for text in entry.texts)
        self._reset_end()
        self.seems_ended = entry.stop_reason in FINAL_STOP_REASONS

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        self.end = outcome
        self._ended_at = entry.at
        self._ends.append((entry.at, outcome))

    def _reset_end(self) -> None:
        self.end = None
        self.seems_ended = False


def _first_word(text: str) -> str:
    return text.split(maxsplit=1)[0] if text.strip() else ""
