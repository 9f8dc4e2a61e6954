"""Claude Code's transcripts: JSONL lines in, what was said and where a turn ends out. Pure.

Measured on 2.1.0 to 2.1.330 (recorded examples lie in the tests' data). What matters:

* A prompt is a `user` entry whose content is a string; tool results, interruptions and images come as lists.
* A turn ends with `system/turn_duration` (from 2.1.200 every turn, before only long ones), with an assistant entry
  that is `isApiErrorMessage`, or with the user entry `[Request interrupted by user…]`. Where none of these is written,
  an assistant entry with stop reason `end_turn` or `stop_sequence` is the last of its turn. Other `system` entries
  come in mid-turn.
* A message that is sent while Claude works is first a `queue-operation` `enqueue`; later it becomes a prompt of its
  own, or, during a tool, a `queued_command` attachment that is merged into the running turn.
* Entries of one flush are not always in causal order; their timestamps are.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dev_sessions.models import LogTurn, Outcome

Kind: TypeAlias = Literal[
    "prompt",
    "notification",
    "reply",
    "tool_result",
    "interrupted",
    "turn_end",
    "enqueue",
    "unqueue",
    "queued",
    "command",
    "other",
]

_INTERRUPTED = "[Request interrupted by user"
#: Entries in the user's name that nobody said: the program's own markup.
_MARKUP = ("<command-", "<local-command-", "<bash-", "<user-memory-input>")
_NOTIFICATION = "<task-notification>"
#: The markup of a command that the program ran, with its name; before it other markup may stand.
_COMMAND = re.compile(r"\s*(?:<command-message>[^<]*</command-message>\s*)?<command-name>([^<]*)</command-name>")
#: Whose end the program announces.
_TOOL_USE_ID = re.compile(r"<tool-use-id>([^<]*)</tool-use-id>")
#: Tools whose work may go on when the turn that called them has its mark of the end (2.1.330).
_AGENT_TOOLS = frozenset({"Agent", "Task"})
#: The first version that puts marks around long pastes (2.1.327 does not).
FIRST_MARKING = (2, 1, 328)
#: The line that `claude/message.py` types above a message that would otherwise be taken for something else.
LEAD = "What follows is my own message to you, in my own words. Act on it as such:"
#: Visible characters by which the end of a message is told.
_END = 20
_PASTE_MARK = re.compile(r"\n*<(pasted_content) id=\"([0-9a-f]+)\">\n(.*?)\n</\1 id=\"\2\">\n?", re.DOTALL)


@dataclass(frozen=True)
class ToolUse:
    """A tool call: its id, the tool's name, its input as the model gave it."""

    id: str
    name: str
    input: Any


@dataclass(frozen=True)
class Entry:
    """One line of a transcript, as far as it matters. `at` is an ISO 8601 time, comparable as text."""

    kind: Kind
    at: str = ""
    texts: tuple[str, ...] = ()
    tool_uses: tuple[ToolUse, ...] = ()
    tool_results: tuple[str, ...] = ()
    stop_reason: str | None = None
    failed: bool = False

    @property
    def text(self) -> str:
        """All of its text."""
        return "\n\n".join(self.texts)


_OTHER = Entry("other")


def parse(line: bytes) -> Entry:
    """One line as an entry. What can't be read, or does not matter, is of kind `other`."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return _OTHER
    if not isinstance(record, dict) or record.get("isSidechain") is True:
        return _OTHER
    at = record.get("timestamp")
    at = at if isinstance(at, str) else ""
    match record.get("type"):
        case "user":
            return _user_entry(record, at)
        case "assistant":
            return _assistant_entry(record, at)
        case "system":
            return _system_entry(record, at)
        case "queue-operation":
            return _queue_entry(record, at)
        case "attachment":
            attachment = record.get("attachment")
            if isinstance(attachment, dict) and attachment.get("type") == "queued_command":
                return Entry("queued", at, _own_words(record, _strings(attachment.get("prompt"))))
    return _OTHER


def _queue_entry(record: dict[str, Any], at: str) -> Entry:
    content = _own_words(record, _strings(record.get("content")))
    if content and content[0].startswith(_NOTIFICATION):
        return _OTHER
    match record.get("operation"):
        case "enqueue":
            return Entry("enqueue", at, content)
        case "dequeue":
            return _OTHER  # the prompt that it becomes follows
    return Entry("unqueue", at, content)


def _system_entry(record: dict[str, Any], at: str) -> Entry:
    content = record.get("content")
    match record.get("subtype"):
        case "turn_duration":
            return Entry("turn_end", at)
        case "local_command" if isinstance(content, str) and (name := _COMMAND.search(content)):
            return Entry("command", at, (name[1],))
        case "informational" if isinstance(content, str) and content.startswith("Unknown command: "):
            return Entry("command", at, (content.removeprefix("Unknown command: "),), failed=True)
    return _OTHER


def _user_entry(record: dict[str, Any], at: str) -> Entry:
    if record.get("isMeta") is True or record.get("isCompactSummary") is True:
        return _OTHER
    message = record.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        if content.startswith(_NOTIFICATION):
            tool = _TOOL_USE_ID.search(content)
            return Entry("notification", at, (tool[1],) if tool else ())
        if name := _COMMAND.match(content):
            return Entry("command", at, (name[1],))
        return _OTHER if content.startswith(_MARKUP) else Entry("prompt", at, _own_words(record, (content,)))
    blocks = _blocks(content)
    results = tuple(str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result")
    if results:
        return Entry("tool_result", at, tool_results=results)
    texts = _strings(content)
    if texts and texts[0].startswith(_INTERRUPTED):
        return Entry("interrupted", at)
    return Entry("prompt", at, _own_words(record, texts)) if texts else _OTHER


def _own_words(record: dict[str, Any], texts: tuple[str, ...]) -> tuple[str, ...]:
    """What the user said, without the marks that the version which wrote the record puts around it."""
    version = version_tuple(str(record.get("version", "")))
    return tuple(own_words(text, marked=not version or version >= FIRST_MARKING) for text in texts)


def _assistant_entry(record: dict[str, Any], at: str) -> Entry:
    message = record.get("message")
    if not isinstance(message, dict):
        return _OTHER
    content = message.get("content")
    return Entry(
        "reply",
        at,
        texts=tuple(text for text in _strings(content) if text.strip()),
        tool_uses=tuple(
            ToolUse(str(block.get("id")), str(block.get("name")), block.get("input"))
            for block in _blocks(content)
            if block.get("type") == "tool_use"
        ),
        stop_reason=message.get("stop_reason") if isinstance(message.get("stop_reason"), str) else None,
        failed=record.get("isApiErrorMessage") is True,
    )


def _blocks(content: object) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _strings(content: object) -> tuple[str, ...]:
    if isinstance(content, str):
        return (content,)
    texts = (block.get("text") for block in _blocks(content) if block.get("type") == "text")
    return tuple(text for text in texts if isinstance(text, str))


def version_tuple(text: str) -> tuple[int, ...]:
    """`2.1.330` as numbers, for comparing; () when it is no version."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def own_words(text: str, *, marked: bool = True) -> str:
    """A prompt as it was sent: without the line above it and, where it is `marked`, without the marks of pastes.

    What in a message looks like such a mark the program has given a backslash.
    """
    if marked:
        text = _PASTE_MARK.sub(lambda match: match[3], text)
        text = text.replace("<\\pasted_content", "<pasted_content").replace("<\\/pasted_content", "</pasted_content")
    return text.removeprefix(LEAD).removeprefix("\n") if text.startswith(LEAD) else text


def log_turn(entry: Entry) -> LogTurn | None:
    """What somebody said in an entry, if anybody did."""
    if entry.kind in ("prompt", "queued") and entry.text:
        return LogTurn("human", entry.text)
    if entry.kind == "reply" and entry.text:
        return LogTurn("assistant", entry.text)
    return None


def visible(text: str) -> str:
    """A message without all that the program may change in it: white space, tabs, control and invisible characters.

    2.1.330 also composes characters (NFC).
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(character for character in composed if character.isprintable() and character != " ")


def digest(text: str) -> str:
    """A fingerprint of what is visible of a message."""
    return _fingerprint(visible(text))


def end_digest(text: str) -> str:
    """A fingerprint of the end of a message, for telling it where only the end of it can be seen."""
    return _fingerprint(visible(text)[-_END:])


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


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
            case "command" if self.arrived != "command" and self.command is not None and entry.text == self.command:
                self._run_command(entry)
            case "enqueue":
                self._enqueue(digest(entry.text))
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
                self._void_end()
            case "interrupted":
                self.end = Outcome("interrupted", "the turn was interrupted")
                self.open_tools.clear()
                self._agents.clear()
            case "turn_end" if self.end is None and entry.at >= self.started_at:
                self.end = Outcome("completed")

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
            # Within one flush a reply may precede its prompt; the end of the turn before may follow our offset.
            self._texts = [(at, text) for at, text in self._texts if at >= entry.at]
            if not self._texts:
                self._void_end()

    def _run_command(self, entry: Entry) -> None:
        """A command of the program ran; most need no turn of the model, some begin one."""
        self._start(entry, everything_before_is_foreign=True)
        self.arrived = "command"
        self.seems_ended = True
        if entry.failed:
            self.end = Outcome("failed", f"{entry.text} is no command of this Claude Code")

    def _next_turn(self, entry: Entry) -> None:
        """Somebody else's message, or the program's own, starts a turn, or joins one that has said nothing yet."""
        ended = self.end is not None or self.seems_ended
        if self.started and ended and not self._queued_behind and not self._agents:
            self._closed = True
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
            self.end = Outcome("failed", entry.text or "the model's service failed")
            return
        if self._own:
            self._texts.extend((entry.at, text) for text in entry.texts)
        self._void_end()
        self.seems_ended = entry.stop_reason in ("end_turn", "stop_sequence")

    def _void_end(self) -> None:
        self.end = None
        self.seems_ended = False
