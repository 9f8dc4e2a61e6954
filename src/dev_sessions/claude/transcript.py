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
    "queued",
    "other",
]

_INTERRUPTED = "[Request interrupted by user"
#: Entries in the user's name that nobody said: the program's own markup.
_MARKUP = ("<command-", "<local-command-", "<bash-", "<user-memory-input>")
_NOTIFICATION = "<task-notification>"
#: What 2.1.330 puts around long pastes.
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
            return Entry("turn_end", at) if record.get("subtype") == "turn_duration" else _OTHER
        case "queue-operation" if record.get("operation") == "enqueue":
            return Entry("enqueue", at, _strings(record.get("content")))
        case "attachment":
            attachment = record.get("attachment")
            if isinstance(attachment, dict) and attachment.get("type") == "queued_command":
                return Entry("queued", at, _strings(attachment.get("prompt")))
    return _OTHER


def _user_entry(record: dict[str, Any], at: str) -> Entry:
    if record.get("isMeta") is True or record.get("isCompactSummary") is True:
        return _OTHER
    message = record.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        if content.startswith(_NOTIFICATION):
            return Entry("notification", at)
        return _OTHER if content.startswith(_MARKUP) else Entry("prompt", at, (content,))
    blocks = _blocks(content)
    results = tuple(str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result")
    if results:
        return Entry("tool_result", at, tool_results=results)
    texts = _strings(content)
    if texts and texts[0].startswith(_INTERRUPTED):
        return Entry("interrupted", at)
    return Entry("prompt", at, texts) if texts else _OTHER


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


def unwrapped(text: str) -> str:
    """A prompt without the marks that the program puts around long pastes."""
    return _PASTE_MARK.sub(lambda match: match[3], text)


def log_turn(entry: Entry) -> LogTurn | None:
    """What somebody said in an entry, if anybody did."""
    if entry.kind in ("prompt", "queued") and entry.text:
        return LogTurn("human", unwrapped(entry.text))
    if entry.kind == "reply" and entry.text:
        return LogTurn("assistant", entry.text)
    return None


def digest(text: str) -> str:
    """A fingerprint of a message that survives what the program does to white space, tabs and control characters."""
    visible = "".join(character for character in unwrapped(text) if character.isprintable() and character != " ")
    return hashlib.sha256(visible.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass
class Turn:
    """What the transcript says, entry by entry, of the turn of one message.

    Feed it everything that was written since just before the message was sent. `arrived` tells that the message is
    in the transcript, `started` that it is no longer queued, `started_at` when. `end` is the program's own mark of
    the end; `seems_ended` the weaker sign where a version writes none. Both are void again when something follows.
    """

    digest: str
    arrived: Literal["submitted", "queued"] | None = None
    started: bool = False
    started_at: str = ""
    end: Outcome | None = None
    seems_ended: bool = False
    open_tools: dict[str, ToolUse] = field(default_factory=dict)
    _texts: list[tuple[str, str]] = field(default_factory=list)
    _own: bool = True

    def feed(self, entry: Entry) -> None:
        """Take one more entry into account."""
        match entry.kind:
            case "enqueue" if self.arrived is None and self._is_ours(entry):
                self.arrived = "queued"
            case "queued" if not self.started and self._is_ours(entry):
                # Merged into the running turn: what was said in it before answers somebody else.
                self._start(entry, everything_before_is_foreign=True)
            case "prompt" if not self.started and self._is_ours(entry):
                self._start(entry, everything_before_is_foreign=self.arrived == "queued")
            case "prompt" | "notification":
                if self.started and (self._texts or self.end):
                    self._own = False
                self._void_end()
            case "reply":
                self._reply(entry)
            case "tool_result":
                for tool_id in entry.tool_results:
                    self.open_tools.pop(tool_id, None)
                self._void_end()
            case "interrupted":
                self.end = Outcome("interrupted", "the turn was interrupted")
                self.open_tools.clear()
            case "turn_end" if self.end is None:
                self.end = Outcome("completed")

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

    def _start(self, entry: Entry, *, everything_before_is_foreign: bool) -> None:
        self.arrived = self.arrived or "submitted"
        self.started = True
        self.started_at = entry.at
        if everything_before_is_foreign:
            self._texts.clear()
            self._void_end()
        else:
            # Within one flush a reply may precede its prompt; the end of the turn before may follow our offset.
            self._texts = [(at, text) for at, text in self._texts if at >= entry.at]
            if not self._texts:
                self._void_end()

    def _reply(self, entry: Entry) -> None:
        for tool in entry.tool_uses:
            self.open_tools[tool.id] = tool
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
