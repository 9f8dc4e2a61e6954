"""Parse Claude Code's transcripts: JSONL lines into entries, texts and token counts. Pure.

A prompt, shortened (2.1.330)::

    {"type": "user", "message": {"role": "user", "content": "say hello"}, "timestamp": "2026-11-22T21:25:09.249Z",
     "origin": {"kind": "human"}, "promptSource": "typed", "turnPosition": {"promptIndex": 1, "turnIndex": 1}, …}

Measured on 2.1.250 to 2.1.332 (recordings are in tests/data/claude):

* A prompt is a `user` entry whose content is a string; tool results, interruptions and images are lists.
* A turn ends with `system/turn_duration`, with an assistant entry that has `isApiErrorMessage`, or with the user entry
  `[Request interrupted by user…]`. If Claude ended before it wrote one of these, an assistant entry with stop reason
  `end_turn` or `stop_sequence` is the last of its turn. Other `system` entries appear in the middle of a turn.
* A prompt that nobody typed (`promptSource` is `system`) names its source: another session's message, a scheduled job,
  a background task. It gets a turn of its own or is merged into a running one, as messages are.
* A message sent while Claude works is first a `queue-operation` `enqueue`; later it becomes a prompt of its own or,
  during a tool call, a `queued_command` attachment that is merged into the running turn.
* Entries that are flushed together are not always in causal order; their timestamps are.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, TypeAlias

from dev_sessions.claude import failure
from dev_sessions.claude.message_text import FIRST_WRAPPING_PASTES, original_text
from dev_sessions.jsonl import CUT
from dev_sessions.models import Activity, Reason, parse_timestamp
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.json_object import objects, parse_object, string
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
    "blocked",
    "stopped",
    "agent_began",
    "agents_stopped",
    "will_continue",
    "wont_continue",
    "command_begins",
    "other",
]

#: Kinds of entries that begin a turn, unless they are merged into the running one.
TURN_STARTERS: frozenset[Kind] = frozenset({"prompt", "foreign", "continuation", "notification"})
#: Kinds of entries that end a turn, beside a last reply. That a command begins is written when it has ended.
_END_MARKS: frozenset[Kind] = frozenset(
    {"interrupted", "turn_end", "command_begins", "command", "blocked", "stopped", "will_continue", "wont_continue"}
)
_INTERRUPTED = "[Request interrupted by user"
#: Markup of the program's own entries in the user's name. A user may type the same.
_MARKUP = ("<command-", "<local-command-", "<bash-", "<user-memory-input>")
_NOTIFICATION = "<task-notification>"
#: The beginning of the entry before that of a command; alone, if the command was cancelled (`/compact`, 2.1.332).
_COMMAND_CAVEAT = "<local-command-caveat>"
#: What Claude writes of a compaction that was cancelled while messages were queued (2.1.332).
_COMPACTION_CANCELLED = "<local-command-stdout>Compaction canceled."
#: The beginning of another session's message in the queue.
_PEER_MESSAGE = "<cross-session-message "
#: The summary in a notification, and the text in another session's message.
_SUMMARY = r"(?s)<summary>(.*?)</summary>"
_PEER_TEXT = r"(?s)<cross-session-message [^>]*>\n(.*)\n</cross-session-message>"
#: Sources of prompts that nobody typed, as `logs` prints them.
_BACKGROUND = "background task"
_SCHEDULED = "scheduled job"
_CONTINUED = "continued by itself"
#: The beginning of a notification in the queue (2.1.250 to 2.1.332).
_QUEUED_NOTIFICATION = r"<task-notification>\s*<task-id>"
#: The markup of a command that the program ran, with its name; other markup may precede it.
_COMMAND = r"\s*(?:<command-message>[^<]*</command-message>\s*)?<command-name>([^<]*)</command-name>"
_COMMAND_ARGUMENTS = r"(?s)<command-args>(.*)</command-args>"
#: The beginnings of the result of a call that the user rejected, the second for a subagent (2.1.250 to 2.1.332).
_REJECTED = ("The user doesn't want to ", "Permission for this tool use was denied.")
#: The call that a notification is about, or without one the subagent: a skill that was given as a command has no call,
#: and that of a subagent which continued after its own subagents is not named (2.1.332).
_TOOL_USE_ID = r"<tool-use-id>([^<]*)</tool-use-id>"
_TASK_ID = r"<task-id>([^<]*)</task-id>"
#: What Claude writes of a command that is a skill with a subagent of its own, such as `/code-review` (2.1.332).
_FORKED_SKILL = r"<forked-skill-launch>(\{.*?\})</forked-skill-launch>"
#: Events at which a hook can stop a turn before its answer is complete.
PROMPT_HOOK = "UserPromptSubmit"
_TOOL_HOOKS = frozenset({"PreToolUse", "PostToolUse", "PostToolUseFailure"})
#: The tool with which Claude asks the user.
QUESTION_TOOL = "AskUserQuestion"
PLAN_TOOL = "ExitPlanMode"
#: Stop reasons of the last reply of a turn.
FINAL_STOP_REASONS = frozenset({"end_turn", "stop_sequence"})
#: The program's answer to a command that it does not have; it may add a suggestion.
_UNKNOWN_COMMAND = r"Unknown command: (\S+?)(?:\. Did you mean \S+\?)?"
#: What Claude writes when it will continue by itself after a usage limit, and when it will not any more (2.1.332):
#: `Usage limit reached · set to continue automatically at 2:57am`, a second time `Usage limit reached again · …`;
#: `Automatic continue cancelled · /rate-limit-options to wait again`.
_WILL_CONTINUE = r"(?s)Usage limit reached\b.*\bcontinue automatically\b"
CONTINUATION_WORDS = b"continue automatically"
_WONT_CONTINUE = r"Automatic continue (?:cancelled|stopped)\b"
#: What Claude writes of a prompt that a hook blocked: the reason, and the prompt.
_HOOK_COMMAND = r"(?s)^\[.*?\]: "
_STOPPED = "Operation stopped by hook: "
_BLOCKED, _BLOCKED_PROMPT = "UserPromptSubmit operation blocked by hook:\n", "\n\nOriginal prompt: "
#: Token counts of a request and its reply, by the API's names.
_TOKEN_COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
#: What can be read of a line that is too long to be read whole: its sender, and what is at its ends.
_CUT_SIDECHAIN = rb'"isSidechain":\s*true'
_CUT_USER = rb'"type":\s*"user",\s*"message"'
_CUT_ASSISTANT = rb'"role":\s*"assistant"'
_CUT_RESULT = rb'"tool_use_id":\s*"([^"\\]+)"'
_CUT_STOP = rb'"stop_reason":\s*"([^"\\]+)"'
_CUT_TIME = rb'"timestamp":\s*"([^"\\]+)"'
_TEXT_TOO_LONG = "(a text of more than 4 MB, which is in the transcript and is not shown)"
#: One part of an answer, quoted or not.
_ANSWER_PART = r'(?s)(?:^|, )(?:("(?:[^"\\]|\\.)*")(?=, |$)|(.*?)(?=, |$))'


@fast_dataclass(frozen=True)
class ToolUse:
    """A tool call: its id, the tool's name, and the input that the model gave."""

    id: str
    name: str
    input: Any


@fast_dataclass(frozen=True)
class Entry:
    """A parsed line of a transcript. `at` is its time in ISO 8601, comparable as text.

    `cause`: the source of a prompt that nobody typed, or the event of a hook that stopped the turn. `turn`: the number
    of the turn that a prompt begins (2.1.330).
    `merged`: the prompt was merged into the running turn. `tool_results`: ids of the calls that have their result here;
    in a notification, of calls that ran on after their turn, or instead the id of the subagent.
    `answers`: pairs of question and answer. `rejected`: the user rejected the calls.
    `agent_is_done`: the result is that of a subagent that ran within the turn and not after it, as it does with
    CLAUDE_CODE_DISABLE_BACKGROUND_TASKS (2.1.250, 2.1.332), or the error of a call that began none. `agent_runs_on`:
    the result is that a skill's subagent has begun, which runs on after it (2.1.332), or that one goes on, to which
    Claude has sent a message (2.1.250 to 2.1.332). `agent`: the id of the subagent that a call began or resumed.
    `arguments`: those of a command. `tokens`: of a reply and its request, cached or not. `reason`: why the model's
    service failed, and `resets_at` when the usage limit ends (ISO 8601). `message_id`: the API's id of a reply, or of
    the reply that was interrupted. `follows`: the id of the entry that a prompt follows, "" if it is the first.
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
    agent_runs_on: bool = False
    agent: str | None = None
    arguments: str = ""
    tokens: int | None = None
    reason: Reason | None = None
    resets_at: str | None = None
    message_id: str | None = None
    follows: str | None = None

    @property
    def text(self) -> str:
        """Return its texts, joined by blank lines."""
        return "\n\n".join(self.texts)

    @property
    def ends_turn(self) -> bool:
        """Return whether the turn ends here, unless a hook or another message continues it."""
        said_last = self.kind == "reply" and (self.failed or self.stop_reason in FINAL_STOP_REASONS)
        return said_last or self.kind in _END_MARKS


_OTHER = Entry("other")


def parse(line: bytes, *, sidechain: bool = False) -> Entry:
    """Parse one line. A line that is malformed or irrelevant is of kind `other`.

    So is a subagent's line, unless `sidechain` is set.
    """
    if CUT in line:
        return _truncated_entry(line)
    record = parse_object(line)
    if record is None or (record.get("isSidechain") is True and not sidechain):
        return _OTHER
    at = _timestamp(record.get("timestamp"))
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
            if isinstance(attachment, dict) and attachment.get("type") == "hook_stopped_continuation":
                event = str(attachment.get("hookEvent"))
                return _stopped_entry(attachment.get("message"), event, at) if event in _TOOL_HOOKS else _OTHER
    return _OTHER


def continued_in(line: bytes) -> str | None:
    """Return the session id under which a conversation continues in Claude's background, if this line says so::

    {"type":"continued-in","timestamp":"2026-…","sessionId":"ee78fb5f-…","continuedInSessionId":"ab624018-…"}
    """
    if not line.startswith(b'{"type":"continued-in"'):
        return None
    return string((parse_object(line) or {}).get("continuedInSessionId"))


def _truncated_entry(line: bytes) -> Entry:
    """Parse a line that lacks its middle. It is usually a tool's output, of which only the end matters."""
    beginning, _, end = line.partition(CUT)
    if re.search(_CUT_SIDECHAIN, beginning):
        return _OTHER
    time = re.search(_CUT_TIME, end)
    at = _timestamp(time[1].decode(errors="replace")) if time else ""
    if re.search(_CUT_USER, beginning):
        results = tuple(found.decode(errors="replace") for found in re.findall(_CUT_RESULT, line))
        return Entry("tool_result", at, tool_results=results) if results else Entry("prompt", at, (_TEXT_TOO_LONG,))
    if re.search(_CUT_ASSISTANT, beginning) and b'"assistant"' in end:
        stop = re.search(_CUT_STOP, end)
        return Entry("reply", at, (_TEXT_TOO_LONG,), stop_reason=stop[1].decode(errors="replace") if stop else None)
    return _OTHER


def _timestamp(value: object) -> str:
    """Return a timestamp that can be compared, or ""."""
    if not isinstance(value, str):
        return ""
    try:
        parse_timestamp(value)
    except ValueError:
        return ""
    return value


def _queue_entry(record: dict[str, Any], at: str) -> Entry:
    content = _original_texts(record, _strings(record.get("content")))
    if content and content[0].startswith(_PEER_MESSAGE):
        return _OTHER
    notifies = bool(content) and re.match(_QUEUED_NOTIFICATION, content[0]) is not None
    match record.get("operation"):
        case "enqueue":
            return Entry("enqueue_notification" if notifies else "enqueue", at, content)
        case "dequeue":
            return _OTHER  # followed by the prompt that it becomes
    return _OTHER if notifies else Entry("unqueue", at, content)


def _system_entry(record: dict[str, Any], at: str) -> Entry:
    content = record.get("content")
    match record.get("subtype"):
        case "turn_duration":
            return Entry("turn_end", at)
        case "agents_killed":  # a person has pressed Ctrl-x Ctrl-k twice (2.1.250 to 2.1.332)
            return Entry("agents_stopped", at)
        case "local_command" if isinstance(content, str) and (name := re.search(_COMMAND, content)):
            return _command_entry(name[1], content, at)
        case "local_command" if isinstance(content, str) and (launch := re.search(_FORKED_SKILL, content)):
            return _agent_entry(launch[1], at)
        case "local_command" if isinstance(content, str) and content.startswith(_COMPACTION_CANCELLED):
            return Entry("interrupted", at)
        case "informational" if isinstance(content, str) and (name := re.fullmatch(_UNKNOWN_COMMAND, content)):
            return Entry("command", at, (name[1],), failed=True)
        case "informational" if isinstance(content, str) and content.startswith(_BLOCKED):
            return _blocked_entry(record, content, at)
        case "informational" if (ending := _submit_ending(record)).get("kind") == "stopped_by_hook":
            return _stopped_entry(ending.get("reason"), PROMPT_HOOK, at)
        case "informational" if record.get("preventContinuation") is True and isinstance(content, str):
            return _stopped_entry(content.removeprefix(_STOPPED), PROMPT_HOOK, at)
        case "informational" if isinstance(content, str) and re.match(_WILL_CONTINUE, content):
            return Entry("will_continue", at)
        case "informational" if isinstance(content, str) and re.match(_WONT_CONTINUE, content):
            return Entry("wont_continue", at)
    return _OTHER


def _blocked_entry(record: dict[str, Any], content: str, at: str) -> Entry:
    """Parse a prompt that a UserPromptSubmit hook blocked, which is not an entry of its own::

        {"type": "system", "subtype": "informational", "content": CONTENT,
         "promptSubmitEnding": {"ending": {"kind": "blocked_by_hook", "reason": "no dogs, please"}, …}, …}

    CONTENT is `UserPromptSubmit operation blocked by hook:\\n[COMMAND]: no dogs, please\\n\\n\\nOriginal prompt: dog`.
    2.1.250 has no `promptSubmitEnding`. The entry's texts are the prompt and the reason.
    """
    reason, _, prompt = content.removeprefix(_BLOCKED).partition(_BLOCKED_PROMPT)
    reason = re.sub(_HOOK_COMMAND, "", reason, count=1)
    ending = _submit_ending(record)
    if isinstance(ending.get("reason"), str):
        reason = re.sub(_HOOK_COMMAND, "", ending["reason"], count=1)
    return Entry("blocked", at, (*_original_texts(record, (prompt,)), " ".join(reason.split())))


def _submit_ending(record: dict[str, Any]) -> dict[str, Any]:
    """Return how a hook has ended the submission of a prompt, or nothing."""
    submit_ending = record.get("promptSubmitEnding")
    ending = submit_ending.get("ending") if isinstance(submit_ending, dict) else None
    return ending if isinstance(ending, dict) else {}


def _stopped_entry(reason: object, event: str, at: str) -> Entry:
    """Return the entry of a hook that stopped a turn with `"continue": false`; what was said stays in the conversation.

    Claude writes this of a prompt (2.1.250 with `"preventContinuation": true` in place of `promptSubmitEnding`) and of
    a call (2.1.332)::

        {"type": "system", "subtype": "informational", "content": "Operation stopped by hook: not now",
         "promptSubmitEnding": {"ending": {"kind": "stopped_by_hook", "reason": "not now"}, "promptKept": true}, …}
        {"type": "attachment", "attachment": {"type": "hook_stopped_continuation", "message": "not now",
         "hookName": "PreToolUse:Bash", "hookEvent": "PreToolUse", …}, …}
    """
    words = " ".join(reason.split()) if isinstance(reason, str) else ""
    return Entry("stopped", at, (words or "no reason given",), cause=event)


def _agent_entry(launch: str, at: str) -> Entry:
    """Parse the start of a subagent, of which a notification reports the end: `{"agentId": "a8d8…", …}`."""
    agent = (parse_object(launch) or {}).get("agentId")
    return Entry("agent_began", at, tool_results=(agent,)) if isinstance(agent, str) else _OTHER


def _merged_entry(record: dict[str, Any], attachment: dict[str, Any], at: str) -> Entry:
    """Parse a message or notification that was queued and then merged into the running turn."""
    texts, origin = _strings(attachment.get("prompt")), _origin(attachment)
    if texts and origin != "human" and texts[0].startswith(_NOTIFICATION):
        return _notification(texts[0], at, merged=True)
    if origin not in ("", "human"):
        return Entry("queued", at, _foreign_texts(attachment, texts), cause=_cause(attachment), merged=True)
    return Entry("queued", at, _original_texts(record, texts), merged=True)


def _notification(text: str, at: str, *, merged: bool = False) -> Entry:
    """Parse a notification: `<task-notification>`, then lines such as `<tool-use-id>toolu_1</tool-use-id>` and
    `<summary>Background command "wait" completed (exit code 0)</summary>`."""
    summary, tool = re.search(_SUMMARY, text), re.search(_TOOL_USE_ID, text) or re.search(_TASK_ID, text)
    texts = (summary[1],) if summary else ()
    results = (tool[1],) if tool else ()
    return Entry("notification", at, texts, cause=_BACKGROUND, merged=merged, tool_results=results)


def _foreign_entry(record: dict[str, Any], texts: tuple[str, ...], at: str) -> Entry:
    """Parse a prompt that nobody typed::

        {"type": "user", "message": {"content": "say hi"}, "isMeta": true, "promptSource": "system",
         "scheduledTaskId": "a461acb9", …}

    or one with an `origin` such as `{"kind": "peer", "name": "workspace-26", "body": "say hi", …}`. 2.1.332 adds the
    `turnOrigin`; 2.1.250 does not have it.
    """
    kind: Kind = "continuation" if _origin(record) == "auto-continuation" else "foreign"
    return Entry(kind, at, _foreign_texts(record, texts), cause=_cause(record), turn=_turn(record))


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


def _foreign_texts(record: dict[str, Any], texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts without the markup around another session's message."""
    origin = record.get("origin")
    if isinstance(origin, dict) and isinstance(origin.get("body"), str):
        return (origin["body"],)
    return tuple(peer[1] if (peer := re.search(_PEER_TEXT, text)) else text for text in texts)


def _command_entry(name: str, content: str, at: str) -> Entry:
    arguments = re.search(_COMMAND_ARGUMENTS, content)
    return Entry("command", at, (name,), arguments=arguments[1] if arguments else "")


def _typed_entry(record: dict[str, Any], at: str) -> Entry | None:
    """Parse a prompt that somebody typed, even if it looks like markup; return None for another entry::

        {"type": "user", "message": {"role": "user", "content": "<bash-input>ls</bash-input>"}, "promptSource": "typed",
         "origin": {"kind": "human"}, …}

    A typed command has no `promptSource`.
    """
    origin = record.get("origin")
    if not isinstance(origin, dict) or origin.get("kind") != "human" or "promptSource" not in record:
        return None
    message = record.get("message")
    texts = _strings(message.get("content")) if isinstance(message, dict) else ()
    return _prompt_entry(record, texts, at) if texts else None


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
        begins = isinstance(content, str) and content.startswith(_COMMAND_CAVEAT)
        return Entry("command_begins", at) if begins else _OTHER
    if isinstance(content, str):
        if name := re.match(_COMMAND, content):
            return _command_entry(name[1], content, at)
        if content.startswith(_MARKUP):
            return _OTHER
        return _prompt_entry(record, (content,), at)
    blocks = objects(content)
    results = tuple(str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result")
    if results:
        return _results_entry(record, blocks, results, at)
    texts = _strings(content)
    if texts and texts[0].startswith(_INTERRUPTED):
        return Entry("interrupted", at, message_id=string(record.get("interruptedMessageId")))
    return _prompt_entry(record, texts, at) if texts else _OTHER


def _prompt_entry(record: dict[str, Any], texts: tuple[str, ...], at: str) -> Entry:
    texts = _original_texts(record, texts)
    return Entry("prompt", at, texts, turn=_turn(record), follows=_follows(record))


def _follows(record: dict[str, Any]) -> str | None:
    return string(record["parentUuid"]) or "" if "parentUuid" in record else None


def _results_entry(record: dict[str, Any], blocks: list[dict[str, Any]], results: tuple[str, ...], at: str) -> Entry:
    """Parse the results of tool calls. For a question, `toolUseResult` holds the answers::

        {"questions": [{"question": "Proceed?", …}], "answers": {"Proceed?": "Yes"}, "annotations": {}}

    A call that the user rejected has an error as its result, in other words for a subagent::

        {"type": "tool_result", "content": "The user doesn't want to proceed with this tool use. …", "is_error": true}
        {"type": "tool_result", "content": "Permission for this tool use was denied. The tool use …", "is_error": true}
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
        agent_is_done=("agentId" in fields and fields.get("status") == "completed")
        or all(block.get("is_error") is True for block in blocks),
        agent_runs_on="resumedAgentId" in fields
        or ("agentId" in fields and fields.get("status") == "forked" and fields.get("background") is True),
        agent=string(fields.get("agentId", fields.get("resumedAgentId"))),
    )


def split_answers(answer: str) -> list[str]:
    """Split the answer to a question that allows several options.

    They are separated by commas; one that holds a comma or a quote is written as a JSON string (2.1.332)::

        red, "a, b", "say \\"a\\""
    """
    return [_unquoted(quoted) if quoted else plain for quoted, plain in re.findall(_ANSWER_PART, answer)]


def _unquoted(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except (ValueError, RecursionError):  # the text of a user that only looks like a JSON string
        return quoted


def _original_texts(record: dict[str, Any], texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts that the user sent, without the marks that the version that wrote the record adds to them."""
    version = parse_version(str(record.get("version", "")))
    return tuple(original_text(text, marked=not version or version >= FIRST_WRAPPING_PASTES) for text in texts)


def _assistant_entry(record: dict[str, Any], at: str) -> Entry:
    message = record.get("message")
    if not isinstance(message, dict):
        return _OTHER
    content = message.get("content")
    texts = tuple(text for text in _strings(content) if text.strip())
    failed = record.get("isApiErrorMessage") is True
    return Entry(
        "reply",
        at,
        texts=texts,
        tool_uses=tuple(
            ToolUse(str(block.get("id")), str(block.get("name")), block.get("input"))
            for block in objects(content)
            if block.get("type") == "tool_use"
        ),
        stop_reason=message.get("stop_reason") if isinstance(message.get("stop_reason"), str) else None,
        failed=failed,
        tokens=_tokens(message.get("usage")),
        reason=failure.reason_of(record, " ".join(texts)) if failed else None,
        resets_at=failure.resets_at(record) if failed else None,
        message_id=string(message.get("id")),
    )


def _tokens(usage: object) -> int | None:
    """Return the number of tokens, or None if no model was asked: the program's own error messages count none."""
    if not isinstance(usage, dict):
        return None
    counts = [usage.get(name) for name in _TOKEN_COUNTS]
    return sum(count for count in counts if isinstance(count, int)) or None


def activity(line: bytes) -> Activity:
    """Return when a line was written, if it belongs to the conversation, and the tokens of a reply."""
    # Most lines have no timestamp; this check saves parsing them.
    entry = parse(line) if b'"timestamp"' in line else _OTHER
    return Activity(entry.at if entry.kind != "other" else "", entry.tokens)


def _strings(content: object) -> tuple[str, ...]:
    if isinstance(content, str):
        return (content,)
    texts = (block.get("text") for block in objects(content) if block.get("type") == "text")
    return tuple(text for text in texts if isinstance(text, str))


def link(line: bytes) -> tuple[str | None, str | None]:
    """Return the id of a line, and that of the line that it follows in its conversation, "" if it is the first."""
    record = parse_object(line) or {}
    return string(record.get("uuid")), _follows(record)
