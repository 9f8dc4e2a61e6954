"""Claude Code's transcripts: JSONL lines in, what was said and where a turn ends out. Pure.

Measured on 2.1.250 to 2.1.332 (recorded examples lie in the tests' data). What matters:

* A prompt is a `user` entry whose content is a string; tool results, interruptions and images come as lists.
* A turn ends with `system/turn_duration`, with an assistant entry that is `isApiErrorMessage`, or with the user entry
  `[Request interrupted by user…]`. Where Claude ended before it wrote one of these, an assistant entry with stop reason
  `end_turn` or `stop_sequence` is the last of its turn. Other `system` entries come in mid-turn.
* A prompt that nobody typed (`promptSource` is `system`) tells what it comes from: another session's message, a
  scheduled job, a background task. It has a turn of its own, or is merged into one as messages are.
* A message that is sent while Claude works is first a `queue-operation` `enqueue`; later it becomes a prompt of its
  own, or, during a tool, a `queued_command` attachment that is merged into the running turn.
* Entries of one flush are not always in causal order; their timestamps are.
"""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

from dev_sessions.jsonl import CUT
from dev_sessions.models import Activity, LogTurn, parse_timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.version import parse_version

Kind: TypeAlias = Literal[
    "prompt",
    "foreign",
    "continuation",
    "notification",
    "reply",
    "tool_result",
    "interrupted",
    "turn_end",
    "enqueue",
    "enqueue_notification",
    "unqueue",
    "queued",
    "command",
    "other",
]

#: What begins a turn of the model, unless the running one takes it in.
BEGIN_TURNS: frozenset[Kind] = frozenset({"prompt", "foreign", "continuation", "notification"})
_INTERRUPTED = "[Request interrupted by user"
#: Entries in the user's name that nobody said: the program's own markup. Somebody may have typed the same.
_MARKUP = ("<command-", "<local-command-", "<bash-", "<user-memory-input>")
_NOTIFICATION = "<task-notification>"
#: How another session's message is queued.
_PEER_MESSAGE = "<cross-session-message "
#: What in a notification says what happened, and in another session's message what that said.
_SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL)
_PEER_WORDS = re.compile(r"<cross-session-message [^>]*>\n(.*)\n</cross-session-message>", re.DOTALL)
#: What prompts come from that nobody typed, as `logs` names it.
_BACKGROUND = "background task"
_SCHEDULED = "scheduled job"
_CONTINUED = "continued by itself"
#: How the program queues one (2.1.250 to 2.1.332).
_QUEUED_NOTIFICATION = re.compile(r"<task-notification>\s*<task-id>")
#: The markup of a command that the program ran, with its name; before it other markup may stand.
_COMMAND = re.compile(r"\s*(?:<command-message>[^<]*</command-message>\s*)?<command-name>([^<]*)</command-name>")
_COMMAND_ARGUMENTS = re.compile(r"<command-args>(.*)</command-args>", re.DOTALL)
#: The result of a call that the user rejected (2.1.250 to 2.1.332).
_REJECTED = "The user doesn't want to "
#: Whose end the program announces.
_TOOL_USE_ID = re.compile(r"<tool-use-id>([^<]*)</tool-use-id>")
#: The first version that puts marks around long pastes (2.1.327 does not).
FIRST_WRAPPING_PASTES = (2, 1, 328)
#: The line that `claude/message.py` types above a message that would otherwise be taken for something else.
LEAD = "What follows is my own message to you, in my own words. Act on it as such:"
#: Why the model stopped when the last of its turn was said.
LAST_REASONS = frozenset({"end_turn", "stop_sequence"})
#: What the program says of a command that it does not have; to some it guesses what was meant.
_NO_COMMAND = re.compile(r"Unknown command: (\S+?)(?:\. Did you mean \S+\?)?")
#: What a request and its reply take, by the API's names.
_COUNTED = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
#: Visible characters by which the end of a message is told.
_END = 20
#: What is told of a line that was too long to be read whole: who it is of, and what stands at its ends.
_CUT_SIDECHAIN = re.compile(rb'"isSidechain":\s*true')
_CUT_USER = re.compile(rb'"type":\s*"user",\s*"message"')
_CUT_ASSISTANT = re.compile(rb'"role":\s*"assistant"')
_CUT_RESULT = re.compile(rb'"tool_use_id":\s*"([^"\\]+)"')
_CUT_STOP = re.compile(rb'"stop_reason":\s*"([^"\\]+)"')
_CUT_TIME = re.compile(rb'"timestamp":\s*"([^"\\]+)"')
#: Seconds by which what is written next may be older; by more only when the clock was set back.
_CLOCK_SET_BACK = 60.0
#: What stands in every line that holds a prompt, and in no tool's output.
_PROMPT_MARKS = (b'"origin"', b'"promptSource"', b'"queued_command"')
#: How many things may be said in one flush.
_FLUSH = 256
_TOO_LONG = "(a text of more than 4 MB, which stands in the transcript and is not shown)"
#: One part of an answer, quoted or not.
_PART = re.compile(r'(?:^|, )(?:("(?:[^"\\]|\\.)*")(?=, |$)|(.*?)(?=, |$))', re.DOTALL)
_PASTE_MARK = re.compile(r"\n*<(pasted_content) id=\"([0-9a-f]+)\">\n(.*?)\n</\1 id=\"\2\">\n?", re.DOTALL)


@fast_dataclass(frozen=True)
class ToolUse:
    """A tool call: its id, the tool's name, its input as the model gave it."""

    id: str
    name: str
    input: Any


@fast_dataclass(frozen=True)
class Entry:
    """One line of a transcript, as far as it matters. `at` is an ISO 8601 time, comparable as text.

    `cause`: what a prompt comes from that nobody typed. `turn`: the number of the turn that a prompt begins (2.1.330).
    `merged`: the running turn took it in. The `tool_results` of a notification are of calls that went on behind their
    turn.
    `answers`: what a question's call was answered, by question. `rejected`: the user rejected the calls of these tool
    results.
    `agent_is_done`: these tool results are a subagent's, which worked in the turn and not behind it, as it does
    with CLAUDE_CODE_DISABLE_BACKGROUND_TASKS (2.1.250, 2.1.332).
    `arguments`: what a command was given.
    `tokens`: of the request that this is the reply to, cached or not, and of the reply itself.
    """

    kind: Kind
    at: str = ""
    texts: tuple[str, ...] = ()
    cause: str | None = None
    turn: int | None = None
    merged: bool = False
    tool_uses: tuple[ToolUse, ...] = ()
    tool_results: tuple[str, ...] = ()
    stop_reason: str | None = None
    failed: bool = False
    answers: tuple[tuple[str, str], ...] = ()
    rejected: bool = False
    agent_is_done: bool = False
    arguments: str = ""
    tokens: int | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        return "\n\n".join(self.texts)

    @property
    def ends_turn(self) -> bool:
        """Whether nothing more is to come after it, unless a hook or somebody's message goes on."""
        said_last = self.kind == "reply" and (self.failed or self.stop_reason in LAST_REASONS)
        return said_last or self.kind in ("interrupted", "turn_end", "command")


_OTHER = Entry("other")


def parse(line: bytes, *, sidechain: bool = False) -> Entry:
    """One line as an entry. What can't be read, or does not matter, is of kind `other`: a subagent's, too, unless
    `sidechain` is set."""
    if CUT in line:
        return _cut_entry(line)
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return _OTHER
    if not isinstance(record, dict) or (record.get("isSidechain") is True and not sidechain):
        return _OTHER
    at = _time(record.get("timestamp"))
    match record.get("type"):
        case "user":
            return _typed_entry(record, at) or _user_entry(record, at)
        case "assistant":
            return _assistant_entry(record, at)
        case "system":
            return _system_entry(record, at)
        case "queue-operation":
            return _queue_entry(record, at)
        case "attachment":
            attachment = record.get("attachment")
            if isinstance(attachment, dict) and attachment.get("type") == "queued_command":
                return _merged_entry(record, attachment, at)
    return _OTHER


def continued_in(line: bytes) -> str | None:
    """Return the session id under which a conversation went on in Claude's background, from the line that says so::

    {"type":"continued-in","timestamp":"2026-…","sessionId":"ee78fb5f-…","continuedInSessionId":"ab624018-…"}
    """
    if not line.startswith(b'{"type":"continued-in"'):
        return None
    try:
        found = json.loads(line).get("continuedInSessionId")
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def _cut_entry(line: bytes) -> Entry:
    """A line without its middle. As a rule that is a tool's output, of which nothing but its end matters."""
    beginning, _, end = line.partition(CUT)
    if _CUT_SIDECHAIN.search(beginning):
        return _OTHER
    time = _CUT_TIME.search(end)
    at = _time(time[1].decode(errors="replace")) if time else ""
    if _CUT_USER.search(beginning):
        results = tuple(found.decode(errors="replace") for found in _CUT_RESULT.findall(line))
        return Entry("tool_result", at, tool_results=results) if results else Entry("prompt", at, (_TOO_LONG,))
    if _CUT_ASSISTANT.search(beginning) and b'"assistant"' in end:
        stop = _CUT_STOP.search(end)
        return Entry("reply", at, (_TOO_LONG,), stop_reason=stop[1].decode(errors="replace") if stop else None)
    return _OTHER


def _time(value: object) -> str:
    """A timestamp that can be compared, or ""."""
    if not isinstance(value, str):
        return ""
    try:
        parse_timestamp(value)
    except ValueError:
        return ""
    return value


def _queue_entry(record: dict[str, Any], at: str) -> Entry:
    content = _own_words(record, _strings(record.get("content")))
    if content and content[0].startswith(_PEER_MESSAGE):
        return _OTHER
    notifies = bool(content) and _QUEUED_NOTIFICATION.match(content[0]) is not None
    match record.get("operation"):
        case "enqueue":
            return Entry("enqueue_notification" if notifies else "enqueue", at, content)
        case "dequeue":
            return _OTHER  # the prompt that it becomes follows
    return _OTHER if notifies else Entry("unqueue", at, content)


def _system_entry(record: dict[str, Any], at: str) -> Entry:
    content = record.get("content")
    match record.get("subtype"):
        case "turn_duration":
            return Entry("turn_end", at)
        case "local_command" if isinstance(content, str) and (name := _COMMAND.search(content)):
            return _command_entry(name[1], content, at)
        case "informational" if isinstance(content, str) and (name := _NO_COMMAND.fullmatch(content)):
            return Entry("command", at, (name[1],), failed=True)
    return _OTHER


def _merged_entry(record: dict[str, Any], attachment: dict[str, Any], at: str) -> Entry:
    """A message, or what else was queued, that the running turn took in."""
    texts, origin = _strings(attachment.get("prompt")), _origin(attachment)
    if texts and origin != "human" and texts[0].startswith(_NOTIFICATION):
        return _notification(texts[0], at, merged=True)
    if origin not in ("", "human"):
        return Entry("queued", at, _foreign_words(attachment, texts), cause=_cause(attachment), merged=True)
    return Entry("queued", at, _own_words(record, texts), merged=True)


def _notification(text: str, at: str, *, merged: bool = False) -> Entry:
    """`<task-notification>`, then lines such as `<tool-use-id>toolu_1</tool-use-id>` and `<summary>Background command
    "wait" completed (exit code 0)</summary>`."""
    summary, tool = _SUMMARY.search(text), _TOOL_USE_ID.search(text)
    words = (summary[1],) if summary else ()
    results = (tool[1],) if tool else ()
    return Entry("notification", at, words, cause=_BACKGROUND, merged=merged, tool_results=results)


def _foreign_entry(record: dict[str, Any], texts: tuple[str, ...], at: str) -> Entry:
    """A prompt that nobody typed: `{"type": "user", "message": {"content": "say hi"}, "isMeta": true, "promptSource":
    "system", "scheduledTaskId": "a461acb9", …}`, or with an `origin` such as `{"kind": "peer", "name": "workspace-26",
    "body": "say hi", …}`. 2.1.332 tells the `turnOrigin`, too; 2.1.250 does not."""
    kind: Kind = "continuation" if _origin(record) == "auto-continuation" else "foreign"
    return Entry(kind, at, _foreign_words(record, texts), cause=_cause(record), turn=_turn(record))


def _turn(record: dict[str, Any]) -> int | None:
    position = record.get("turnPosition")
    number = position.get("turnIndex") if isinstance(position, dict) else None
    return number if isinstance(number, int) else None


def _origin(record: dict[str, Any]) -> str:
    origin = record.get("origin")
    return str(origin.get("kind", "")) if isinstance(origin, dict) else ""


def _cause(record: dict[str, Any]) -> str:
    kind = _origin(record)
    if kind == "peer":
        name = record["origin"].get("name") or record["origin"].get("from")
        return f"message from another session: {name}" if isinstance(name, str) else "message from another session"
    if kind == "auto-continuation":
        return _CONTINUED
    scheduled = "scheduledTaskId" in record or record.get("turnOrigin") == "scheduled"
    return _SCHEDULED if scheduled else f"sent by {kind}" if kind else "sent by Claude Code itself"


def _foreign_words(record: dict[str, Any], texts: tuple[str, ...]) -> tuple[str, ...]:
    """What was said, without what the program writes around another session's message."""
    origin = record.get("origin")
    if isinstance(origin, dict) and isinstance(origin.get("body"), str):
        return (origin["body"],)
    return tuple(words[1] if (words := _PEER_WORDS.search(text)) else text for text in texts)


def _command_entry(name: str, content: str, at: str) -> Entry:
    arguments = _COMMAND_ARGUMENTS.search(content)
    return Entry("command", at, (name,), arguments=arguments[1] if arguments else "")


def _typed_entry(record: dict[str, Any], at: str) -> Entry | None:
    """A prompt that somebody typed, whatever it looks like; None for another entry::

        {"type": "user", "message": {"role": "user", "content": "<bash-input>ls</bash-input>"}, "promptSource": "typed",
         "origin": {"kind": "human"}, …}

    Of a command that was typed there is no `promptSource`.
    """
    origin = record.get("origin")
    if not isinstance(origin, dict) or origin.get("kind") != "human" or "promptSource" not in record:
        return None
    message = record.get("message")
    texts = _strings(message.get("content")) if isinstance(message, dict) else ()
    return Entry("prompt", at, _own_words(record, texts), turn=_turn(record)) if texts else None


def _user_entry(record: dict[str, Any], at: str) -> Entry:
    message = record.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str) and content.startswith(_NOTIFICATION):
        return _notification(content, at)
    if record.get("isCompactSummary") is True:
        return _OTHER
    if record.get("promptSource") == "system":
        return _foreign_entry(record, _strings(content), at)
    if record.get("isMeta") is True:
        return _OTHER
    if isinstance(content, str):
        if name := _COMMAND.match(content):
            return _command_entry(name[1], content, at)
        if content.startswith(_MARKUP):
            return _OTHER
        return Entry("prompt", at, _own_words(record, (content,)), turn=_turn(record))
    blocks = _blocks(content)
    results = tuple(str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result")
    if results:
        return _results_entry(record, blocks, results, at)
    texts = _strings(content)
    if texts and texts[0].startswith(_INTERRUPTED):
        return Entry("interrupted", at)
    return Entry("prompt", at, _own_words(record, texts), turn=_turn(record)) if texts else _OTHER


def _results_entry(record: dict[str, Any], blocks: list[dict[str, Any]], results: tuple[str, ...], at: str) -> Entry:
    """Parse the results of tool calls. Of a question the `toolUseResult` tells the answers::

        {"questions": [{"question": "Proceed?", …}], "answers": {"Proceed?": "Yes"}, "annotations": {}}

    A call that the user rejected has an error as its result::

        {"type": "tool_result", "content": "The user doesn't want to proceed with this tool use. …", "is_error": true}
    """
    outcome = record.get("toolUseResult")
    fields = outcome if isinstance(outcome, dict) else {}
    answers = fields.get("answers")
    return Entry(
        "tool_result",
        at,
        tool_results=results,
        answers=tuple(
            (question, answer)
            for question, answer in (answers.items() if isinstance(answers, dict) else ())
            if isinstance(answer, str)
        ),
        rejected=any(
            block.get("is_error") is True and "".join(_strings(block.get("content"))).startswith(_REJECTED)
            for block in blocks
        ),
        agent_is_done="agentId" in fields and fields.get("status") == "completed",
    )


def several(answer: str) -> list[str]:
    """Return the parts of an answer to a question of which several options may be chosen.

    They are separated by commas; one that holds a comma or a quote is written as a JSON string (2.1.332)::

        red, "a, b", "say \\"a\\""
    """
    return [str(json.loads(quoted)) if quoted else plain for quoted, plain in _PART.findall(answer)]


def _own_words(record: dict[str, Any], texts: tuple[str, ...]) -> tuple[str, ...]:
    """What the user said, without the marks that the version which wrote the record puts around it."""
    version = parse_version(str(record.get("version", "")))
    return tuple(own_words(text, marked=not version or version >= FIRST_WRAPPING_PASTES) for text in texts)


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
        tokens=_tokens(message.get("usage")),
    )


def _tokens(usage: object) -> int | None:
    """None where no model was asked: an error in the program's own words counts nothing."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in _COUNTED]
    return sum(count for count in counts if isinstance(count, int)) or None


def trace(line: bytes) -> Activity:
    """When a line was written to the conversation, and the tokens of a reply."""
    # Most of a transcript is no part of the conversation; a glance saves parsing it.
    entry = parse(line) if b'"timestamp"' in line else _OTHER
    return Activity(entry.at if entry.kind != "other" else "", entry.tokens)


def _blocks(content: object) -> list[dict[str, Any]]:
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _strings(content: object) -> tuple[str, ...]:
    if isinstance(content, str):
        return (content,)
    texts = (block.get("text") for block in _blocks(content) if block.get("type") == "text")
    return tuple(text for text in texts if isinstance(text, str))


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
    if (entry.kind in BEGIN_TURNS or entry.kind == "queued") and entry.text:
        return LogTurn("human", entry.text, entry.cause)
    if entry.kind == "reply" and entry.text:
        return LogTurn("assistant", entry.text)
    return None


def said(lines: Iterable[bytes]) -> Iterator[LogTurn]:
    """What was said in a transcript, in the order in which it happened: the lines of one flush may stand in another."""
    near: list[tuple[int, str, int, LogTurn]] = []
    clock, latest = 0, 0.0
    for number, line in enumerate(lines):
        if b'"user"' not in line and b'"assistant"' not in line and b'"queued_command"' not in line:
            continue
        entry = parse(line)
        turn = log_turn(entry)
        if turn is not None:
            at = parse_timestamp(entry.at) if entry.at else latest
            clock, latest = clock + (at < latest - _CLOCK_SET_BACK), at
            heapq.heappush(near, (clock, entry.at, number, turn))
            if len(near) > _FLUSH:
                yield heapq.heappop(near)[-1]
    while near:
        yield heapq.heappop(near)[-1]


def last_said(lines: Iterable[bytes], count: int) -> tuple[list[str], list[str]]:
    """The last `count` texts of the assistant, newest first, from lines that come from the end; and the causes of the
    turns at the end that are passed over, newest first: what another session's message or a scheduled job has brought
    about answers nobody here. Where there is nothing else, it counts as well."""
    texts: list[str] = []  # of a turn whose prompt is not reached yet, until one is
    foreign: list[str] = []
    causes: list[str] = []
    reached = False
    for line in lines:
        if reached and len(texts) >= count:
            break
        # Most of a transcript is tool output; a glance saves parsing it.
        if b'"assistant"' not in line and (reached or not any(mark in line for mark in _PROMPT_MARKS)):
            continue
        entry = parse(line)
        if entry.kind == "reply":
            texts += reversed(entry.texts)
        elif reached:
            continue
        elif entry.kind == "foreign":
            causes += [entry.cause or ""] if texts else []
            foreign, texts = foreign + texts, []
        elif entry.kind == "command" or (entry.kind == "queued" and entry.cause is None):
            reached = True
        else:
            reached = entry.kind in BEGIN_TURNS and not entry.merged
    return (texts[:count], causes) if texts or reached else (foreign[:count], [])


#: Characters that show nothing, and that Python takes for printable all the same.
_PRINTABLE_IGNORABLE = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U0001107f\U00016fe4"
    r"\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    """A message without all that the program may change in it: white space, tabs, control and invisible characters.

    2.1.330 also composes characters (NFC). It drops what Unicode calls default ignorable wherever that makes no emoji.
    """
    import unicodedata

    composed = unicodedata.normalize("NFC", text)
    return "".join(
        character
        for character in composed
        if character.isprintable() and character != " " and not _PRINTABLE_IGNORABLE.match(character)
    )


def digest(text: str) -> str:
    """A fingerprint of what is visible of a message."""
    return _fingerprint(visible(text))


def end_digest(text: str) -> str:
    """A fingerprint of the end of a message, for telling it where only the end of it can be seen."""
    return _fingerprint(visible(text)[-_END:])


def _fingerprint(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
