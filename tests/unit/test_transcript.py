"""Transcripts that real versions of Claude Code wrote."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev_sessions.claude.conversation import last_texts, log_turn, log_turns
from dev_sessions.claude.message_text import PREAMBLE, digest, end_digest, original_text
from dev_sessions.claude.transcript import continued_in, parse
from dev_sessions.claude.transcript_file import Tail, unanswered_messages
from dev_sessions.claude.turn import Turn
from dev_sessions.models import Answer, Outcome, paragraph

DATA = Path(__file__).parent.parent / "data" / "claude"
COMPLETED = Outcome("completed")
#: Transcripts in which somebody typed what looks like the program's own markup.
TYPED_BY_SOMEBODY = set(DATA.glob("*-typed-markup.jsonl"))

#: File, the message, how its turn ended by the program's own mark (None: no mark), the reply.
TURNS = [
    ("2.1.330-plain-turn", "say hello", COMPLETED, ["hello"]),
    ("2.1.300-plain-turn", "say hi", COMPLETED, ["hi"]),
    ("2.1.330-queued-while-busy", "slow 3 first", COMPLETED, ["first"]),
    ("2.1.330-queued-while-busy", "say second", COMPLETED, ["second"]),
    ("2.1.330-queued-during-tool", "say second2", COMPLETED, ["ran: toolout"]),
    (
        "2.1.330-api-error-400",
        "fail 400",
        Outcome("failed", "API Error: 400 scripted failure 400", "invalid_request"),
        [],
    ),
    (
        "2.1.330-interrupt-mid-tool",
        "run for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done",
        Outcome("interrupted"),
        [],
    ),
    ("2.1.330-autocompact-mid-turn", "big one", COMPLETED, ["one"]),
    ("2.1.250-stop-hook", "say hi", COMPLETED, ["hi"]),
    ("2.1.250-no-login", "say hi", Outcome("failed", "Not logged in \u00b7 Please run /login", "auth"), []),
]


def lines(name: str) -> list[bytes]:
    """Return the lines of a recorded transcript."""
    return (DATA / f"{name}.jsonl").read_bytes().splitlines()


def follow(name: str, message: str) -> Turn:
    """Return the turn of a message, up to the next prompt of somebody else."""
    turn = Turn(digest(message))
    for line in lines(name):
        entry = parse(line)
        if turn.started and turn.reply and entry.kind == "prompt":
            break
        turn.feed(entry)
    return turn


@pytest.mark.parametrize(("name", "message", "end", "reply"), TURNS)
def test_a_turn_ends_where_the_program_ended_it(name: str, message: str, end: Outcome, reply: list[str]) -> None:
    """The end of a turn, its outcome and its texts are found."""
    turn = follow(name, message)
    assert turn.started
    assert turn.end == end
    assert turn.reply == reply


def is_mark(line: bytes) -> bool:
    """Return whether the program writes this line at the end of a turn, without using the parser."""
    return (
        b'"subtype": "turn_duration"' in line
        or b'"isApiErrorMessage": true' in line
        or b'"text": "[Request interrupted by user' in line
    )


@pytest.mark.parametrize(("name", "message"), sorted({(name, message) for name, message, *_ in TURNS}))
def test_a_turn_ends_at_its_mark_and_not_before(name: str, message: str) -> None:
    """A turn is over at the first mark after its beginning: no answer is read too early, and no wait is too long."""
    turn = Turn(digest(message))
    marks_after_start = 0
    for line in lines(name):
        turn.feed(parse(line))
        marks_after_start += turn.started and is_mark(line)
        assert (turn.started and turn.end is not None) == (marks_after_start > 0)
        if marks_after_start:
            return
    pytest.fail("the end was never seen")


def test_a_question_is_open_until_it_is_answered() -> None:
    """A question is open until somebody has answered it."""
    turn = follow("2.1.330-ask-waiting", "ask Proceed?")
    assert turn.question is not None
    assert turn.question.input["questions"][0]["question"] == "Proceed?"
    assert turn.end is None
    for name, message in (
        ("2.1.330-ask-answered", "ask Proceed?"),
        ("2.1.300-ask-answered", "ask Which?"),
        ("2.1.330-ask-escaped", "ask Proceed?"),
    ):
        assert follow(name, message).question is None, name


def test_a_message_sent_during_a_tool_is_merged() -> None:
    """A message that is merged into a running turn is queued first, and ends with that turn."""
    turn = Turn(digest("say second2"))
    states = []
    for line in lines("2.1.330-queued-during-tool"):
        turn.feed(parse(line))
        states.append((turn.arrived, turn.started, turn.end is not None))
    assert ("queued", False, False) in states
    assert states[-1] == ("queued", True, True)


@pytest.mark.parametrize("path", sorted(set(DATA.glob("*.jsonl")) - TYPED_BY_SOMEBODY), ids=lambda path: path.stem)
def test_logs_have_no_markup(path: Path) -> None:
    """The log of a conversation has none of the program's own markup."""
    for line in path.read_bytes().splitlines():
        turn = log_turn(parse(line))
        if turn is not None:
            assert turn.text.strip()
            assert not turn.text.startswith(("<task-notification", "<command-", "<local-command", "<bash-", "[Request"))
            assert "pasted_content" not in turn.text


def test_logs_are_in_order_of_time() -> None:
    """Lines of one flush are sorted by time; after the clock was set back, later lines still come last."""

    def line(text: str, at: str) -> bytes:
        return json.dumps({"type": "user", "timestamp": at, "message": {"role": "user", "content": text}}).encode()

    written = [
        line("second", "2026-01-02T03:00:02.000Z"),
        line("first", "2026-01-02T03:00:01.000Z"),
        line("at the same time", "2026-01-02T03:00:02.000Z"),
        line("the clock was set back", "2026-01-02T01:00:00.000Z"),
        *(line(f"then {number}", f"2026-01-02T01:{number // 60:02}:{number % 60:02}.500Z") for number in range(1000)),
    ]
    texts = [turn.text for turn in log_turns(written)]
    assert texts[:4] == ["first", "second", "at the same time", "the clock was set back"]
    assert texts[4:] == [f"then {number}" for number in range(1000)]


def whole(name: str, message: str) -> Turn:
    """Return the turn of a message in a whole transcript."""
    turn = Turn(digest(message))
    for line in lines(name):
        turn.feed(parse(line))
    return turn


#: File, the message, its reply, and how many messages that answers.
ANSWERS = [
    ("2.1.332-peer-behind-turn-interrupted", "after 3 say mine", "mine", 1),
    ("2.1.250-peer-behind-turn-interrupted", "after 3 say mine", "mine", 1),
    ("2.1.332-scheduled-behind-turn", "after 32 say mine", "mine", 1),
    ("2.1.250-scheduled-behind-turn", "after 32 say mine", "mine", 1),
    ("2.1.332-scheduled-behind-turn", "run sleep 4; echo slept", "ran: slept", 1),
    ("2.1.250-scheduled-behind-turn", "background sleep 3", "started", 1),
    ("2.1.332-peer-during-tool", "run sleep 3; echo slept", "ran: slept", 2),
    ("2.1.250-peer-during-tool", "run sleep 3; echo slept", "ran: slept", 2),
    ("2.1.330-queued-while-busy", "slow 3 first", "first", 1),
    ("2.1.330-queued-while-busy", "say second", "second", 1),
    ("2.1.330-queued-during-tool", "say second2", "ran: toolout", 2),
    ("2.1.332-several-messages-one-turn", "when told say first", "first", 1),
    *(("2.1.332-several-messages-one-turn", f"say queued {number}", "queued 2", 3) for number in range(3)),
    *(("2.1.250-several-messages-one-turn", f"say queued {number}", f"queued {number}", 1) for number in range(3)),
    ("2.1.332-several-messages-one-turn", "run until test -e go; do sleep 0.05; done", "merged 1", 3),
    ("2.1.332-several-messages-one-turn", "say merged 0", "merged 1", 3),
    ("2.1.332-several-messages-one-turn", "say merged 1", "merged 1", 3),
]


@pytest.mark.parametrize(("name", "message", "reply", "messages"), ANSWERS)
def test_the_answer_to_a_message_is_its_own(name: str, message: str, reply: str, messages: int) -> None:
    """The answer to a message has no text of later turns: of other messages, sessions, jobs or background commands.

    If several messages were put into one turn, the reply answers all of them.
    """
    turn = whole(name, message)
    assert turn.own_end == COMPLETED
    assert turn.answer.texts[-1] == reply
    assert turn.answer.messages == messages


@pytest.mark.parametrize("name", ["2.1.332-peer-behind-turn-interrupted", "2.1.250-peer-behind-turn-interrupted"])
def test_another_sessions_interruption_does_not_change_the_outcome(name: str) -> None:
    """A turn that ended before another session's message came stays completed when that one is interrupted."""
    assert any(b"[Request interrupted by user" in line for line in lines(name))
    turn = whole(name, "after 3 say mine")
    assert turn.is_over
    assert turn.end == COMPLETED


def test_a_turn_that_left_no_end_is_over_when_another_begins() -> None:
    """A message that Escape stopped before the first reply has no answer; the next reply belongs to the next
    message."""
    texts = b"\n".join(lines("2.1.332-peer-behind-turn-interrupted"))
    without_reply = [line for line in texts.splitlines() if b"mine" not in line.replace(b"say mine", b"")]
    turn = Turn(digest("after 3 say mine"))
    for line in [line for line in without_reply if b"turn_duration" not in line]:
        turn.feed(parse(line))
    assert turn.own_end == Outcome("interrupted", "Claude went on without an answer")
    assert turn.reply == []


PEER: dict[str, Any] = {"isMeta": True, "promptSource": "system", "origin": {"kind": "peer", "name": "other"}}


class Written:
    """Lines as 2.1.332 writes them, one second apart, fed to a turn."""

    def __init__(self, message: str) -> None:
        self.turn = Turn(digest(message))
        self._second = 0
        self.prompt(message)

    def prompt(self, text: str, at: float | None = None, **fields: Any) -> None:
        """Write a prompt, of a person unless the fields say otherwise."""
        self._line("user", at, message={"content": text}, **fields)

    def queue(self, text: str) -> None:
        """Write that a message was queued."""
        self._line("queue-operation", operation="enqueue", content=text)

    def says(self, text: str = "", *, subagent: str = "", at: float | None = None, **fields: Any) -> None:
        """Write the last text of the assistant, or the call of a subagent."""
        content = [{"type": "tool_use", "id": subagent, "name": "Agent"}] if subagent else []
        blocks = [*([{"type": "text", "text": text}] if text else []), *content]
        stop = "tool_use" if subagent else "end_turn"
        self._line("assistant", at, message={"content": blocks, "stop_reason": stop}, **fields)

    def ends(self) -> None:
        """Write the mark of the end of a turn."""
        self._line("system", subtype="turn_duration")

    def _line(self, kind: str, at: float | None = None, **fields: Any) -> None:
        self._second += 1
        time = f"2026-01-02T03:00:{self._second if at is None else at:06.3f}Z"
        self.turn.feed(parse(json.dumps({"type": kind, "timestamp": time, **fields}).encode()))


def test_messages_queued_later_do_not_change_the_answer() -> None:
    """A wait covers the messages queued after the own one, and fails with them; by then an ask has its reply."""
    written = Written("say mine")
    written.queue("fail 400")
    written.says("mine")
    written.ends()
    assert written.turn.own_end == COMPLETED
    assert not written.turn.is_over
    written.prompt("fail 400")
    assert written.turn.own_end == COMPLETED
    written.says("API Error: 400", isApiErrorMessage=True)
    assert written.turn.is_over
    assert written.turn.end == Outcome("failed", "API Error: 400", "unknown")
    assert written.turn.own_end == COMPLETED
    assert written.turn.answer == Answer(("mine",))


def test_another_turns_reply_before_its_prompt_is_not_part_of_the_answer() -> None:
    """If a version writes a prompt after its own reply, the times decide which turn the reply belongs to."""
    written = Written("say mine")
    written.says("mine")
    written.ends()
    written.says("theirs", at=10.5)
    written.prompt("say theirs", at=10, **PEER)
    assert written.turn.is_over
    assert written.turn.end == written.turn.own_end == COMPLETED
    assert written.turn.reply == ["mine"]


def test_another_turn_before_a_subagents_report_is_ignored() -> None:
    """A turn with a working subagent is not over, and a reply to another session's message is not part of it."""
    written = Written("subagent say x")
    written.says(subagent="toolu_1")
    written.says("started")
    written.ends()
    written.prompt("say theirs", **PEER)
    written.says("theirs")
    written.ends()
    assert not written.turn.is_over
    assert written.turn.own_end is None
    written.prompt("<task-notification>\n<tool-use-id>toolu_1</tool-use-id>\n</task-notification>")
    written.says("found it")
    written.ends()
    assert written.turn.is_over
    assert written.turn.own_end == COMPLETED
    assert written.turn.reply == ["started", "found it"]


def test_a_command_after_a_turn_is_not_its_reply() -> None:
    """The reply to a command that somebody gave after the turn belongs to that command."""
    written = Written("say mine")
    written.says("mine")
    written.ends()
    written.prompt("<command-message>greet</command-message>\n<command-name>/greet</command-name>")
    written.says("greeted")
    assert written.turn.is_over
    assert written.turn.reply == ["mine"]


def test_work_that_a_limit_stopped_goes_on_by_itself() -> None:
    """Work that Claude continues by itself after a usage limit belongs to the message that met the limit."""
    entries = [parse(line) for line in lines("2.1.332-usage-limit-continues-by-itself")]
    turn = Turn(digest("say LIMIT 30"))
    ends = []
    for entry in entries:
        turn.feed(entry)
        if entry.kind in ("reply", "continuation"):
            ends.append(turn.own_end and turn.own_end.error)
    assert [error and error.partition(" · resets ")[2] for error in ends[-3:]] == ["2:57am (UTC)", None, "2:59am (UTC)"]


LIMIT: dict[str, Any] = {
    "isApiErrorMessage": True,
    "error": "rate_limit",
    "apiError": "usage_limit_reached",
    "quotaLimits": {"status": "rejected", "resetsAt": 1767323400},
}
RESET = "2026-01-02T03:10:00.000Z"
CONTINUE = "Your claude.ai usage limit has reset. Continue the task …"


class Limited(Written):
    """A turn that met a usage limit, after which Claude will continue by itself."""

    def meets_limit(self) -> None:
        """Write the error and the announcement."""
        self.says("You've hit your limit", **LIMIT)
        self.tells("Usage limit reached · set to continue automatically at 3:10am")

    def tells(self, words: str) -> None:
        """Write a notice to the user."""
        self._line("system", subtype="informational", content=words, level="notice")

    def continues(self) -> None:
        """Write the beginning of the continued turn."""
        self.queue(CONTINUE)
        self.tells("Usage limit reset · Continuing automatically")
        self.prompt(CONTINUE, isMeta=True, origin={"kind": "auto-continuation"}, promptSource="system")

    @property
    def continues_at(self) -> str | None:
        """Return from when on the turn continues."""
        return self.turn.own_end.continues_at if self.turn.own_end is not None else None


def test_a_continued_turn_ends_with_its_answer() -> None:
    """A turn that was continued after a usage limit is over when that work has ended, and its answer is that of the
    message."""
    written = Limited("work")
    written.meets_limit()
    assert written.turn.is_over
    assert written.continues_at == RESET
    written.continues()
    assert (written.turn.is_over, written.turn.own_end) == (False, None)
    written.says("done")
    written.ends()
    assert written.turn.is_over
    assert written.turn.own_end == COMPLETED
    assert written.turn.reply[-1] == "done"


def test_a_turn_between_a_limit_and_the_continuation_changes_nothing() -> None:
    """If another session's message comes while Claude waits for the end of a usage limit, the continued work still
    belongs to the message whose turn met the limit, and the other answer does not."""
    written = Limited("work")
    written.meets_limit()
    written.prompt("say hi", isMeta=True, origin={"kind": "peer", "name": "workspace-26"}, promptSource="system")
    written.says("hi")
    written.ends()
    assert written.continues_at == RESET
    written.continues()
    assert written.turn.own_end is None
    written.says("done")
    written.ends()
    assert written.turn.is_over
    assert written.turn.own_end == COMPLETED
    assert written.turn.reply[-1] == "done"
    assert "hi" not in written.turn.reply


def test_a_person_who_types_ends_the_continuation() -> None:
    """If somebody types a message while Claude waits for the end of a usage limit, Claude does not continue."""
    written = Limited("work")
    written.meets_limit()
    written.prompt("say something else")
    assert written.turn.is_over
    assert (written.turn.end and written.turn.end.reason, written.continues_at) == ("usage_limit", None)


def test_messages_that_meet_one_limit_are_continued_together() -> None:
    """A message that was queued behind one that met a usage limit meets the same; the continued work answers both."""
    written = Limited("work")
    written.queue("more")
    written.meets_limit()
    written.prompt("more", promptSource="queued", origin={"kind": "human"})
    written.meets_limit()
    assert written.continues_at == RESET
    written.continues()
    assert written.turn.own_end is None
    written.says("done")
    written.ends()
    assert written.turn.is_over
    assert written.turn.own_end == COMPLETED


def test_the_last_message_may_be_of_continued_work() -> None:
    """What was said before a usage limit and after it belongs to one turn, whoever caused that."""
    human = {"origin": {"kind": "human"}, "promptSource": "typed"}
    peer = {"isMeta": True, "origin": {"kind": "peer", "name": "b"}, "promptSource": "system"}
    goes_on = {"isMeta": True, "origin": {"kind": "auto-continuation"}, "promptSource": "system"}

    def user(text: str, **fields: Any) -> bytes:
        return json.dumps({"type": "user", "message": {"content": text}, **fields}).encode()

    def assistant(text: str) -> bytes:
        return json.dumps({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}).encode()

    mine = [user("work", **human), assistant("begun"), user(CONTINUE, **goes_on), assistant("done")]
    assert last_texts(mine[::-1], 2) == (["done", "begun"], [])
    others = [user("hi", **peer), assistant("well"), user(CONTINUE, **goes_on), assistant("hello")]
    assert last_texts([*mine, *others][::-1], 1) == (["done"], ["message from another session: b"])


def test_logs_name_the_cause_of_a_prompt_that_nobody_typed() -> None:
    """A prompt that nobody typed (of another session, a job, a background task, or continued work) is logged with its
    cause."""
    for version in ("2.1.250", "2.1.332"):
        peer, job = (
            [turn for turn in log_turns(lines(f"{version}-{name}")) if turn.role == "human"]
            for name in ("peer-during-tool", "scheduled-behind-turn")
        )
        name = peer[1].cause.removeprefix("message from another session: ") if peer[1].cause else ""
        assert name.startswith("workspace-")
        assert [(turn.text, turn.cause) for turn in peer] == [
            ("run sleep 3; echo slept", None),
            ("say peer during tool", f"message from another session: {name}"),
            ("say peer when idle", f"message from another session: {name}"),
        ]
        assert [(turn.text, turn.cause) for turn in job if turn.cause] == [
            ('Background command "Runs the scripted command" completed (exit code 0)', "background task"),
            ("say scheduled", "scheduled job"),
        ]
        assert paragraph(job[-1]) == "[HUMAN]\n(scheduled job)\nsay scheduled"
    continued = next(said_ for said_ in log_turns(lines("2.1.332-usage-limit-continues-by-itself")) if said_.cause)
    assert continued.cause == "continued by itself"
    assert continued.text.startswith("Your claude.ai usage limit has reset. Continue the task")


@pytest.mark.parametrize(
    ("name", "count", "texts", "causes"),
    [
        ("2.1.332-scheduled-behind-turn", 1, ["mine"], ["scheduled job"]),
        ("2.1.250-scheduled-behind-turn", 1, ["mine"], ["scheduled job"]),
        ("2.1.332-scheduled-behind-turn", 3, ["mine", "ran: slept", "started"], ["scheduled job"]),
        ("2.1.332-peer-behind-turn-interrupted", 2, ["mine"], []),
        # What a background command woke goes on with what was asked for.
        ("2.1.330-background-bash-finished", 3, ["tool said: ", "tool said: ", "using tools"], []),
    ],
)
def test_the_last_texts_answer_somebody_here(name: str, count: int, texts: list[str], causes: list[str]) -> None:
    """The last texts are those of the last turn that somebody here asked for; the turns after it are named by cause.

    Before that turn all texts count.
    """
    found, passed_over = last_texts(lines(name)[::-1], count)
    assert [text[: len(expected)] for text, expected in zip(found, texts, strict=True)] == texts
    assert passed_over == causes


def test_other_sessions_replies_are_the_last_texts_if_there_are_no_others() -> None:
    """A session to which only other sessions have spoken has last texts, too."""
    foreign = [line for line in lines("2.1.332-peer-during-tool") if b'"peer"' in line or b'"assistant"' in line]
    alone = foreign[next(number for number, line in enumerate(foreign) if b"peer when idle" in line) :]
    assert last_texts(alone[::-1], 1) == (["peer when idle"], [])


def test_a_wrapped_paste_is_the_message_itself() -> None:
    """The marks that the program adds to a long paste are not part of the message."""
    assert any(b"<pasted_content id" in line for line in lines("2.1.330-pasted-content-wrapper"))
    prompts = [parse(line) for line in lines("2.1.330-pasted-content-wrapper")]
    text = next(entry.text for entry in prompts if entry.kind == "prompt")
    assert text == "say L1\n" + "\n".join(f"line {n}" for n in range(2, 10))


def test_the_preamble_is_not_part_of_the_message() -> None:
    """The preamble, and the program's escapes of marks in a message, are removed."""
    marked = (
        f'{PREAMBLE}\n\n\n<pasted_content id="e91b">\nsay\n\n<\\pasted_content id="1">\n</pasted_content id="e91b">\n'
    )
    assert original_text(marked) == 'say\n\n<pasted_content id="1">'
    assert original_text(f"{PREAMBLE}\n/cost\nis what") == "/cost\nis what"
    kept = '<pasted_content id="84f9">\nx\n</pasted_content id="84f9">'
    assert original_text(kept, marked=False) == kept
    assert original_text('<pasted_content id="1">\nx\n</pasted_content id="1">').startswith("<pasted"), "no such mark"


def test_a_message_that_quotes_a_mark_is_recognised() -> None:
    """A message that itself contains a mark is found, whether the program escapes marks or not."""
    quote = 'see:\n<pasted_content id="84f9">\nx\n</pasted_content id="84f9">\nend'
    assert digest(quote) == digest(original_text(quote)) == digest(original_text(quote, marked=False))
    assert digest(original_text(quote.replace("<p", "<\\p").replace("</p", "<\\/p"))) == digest(quote)


def test_a_message_is_recognised_by_its_end() -> None:
    """A long message is distinguished from another one by its end alone."""
    text = "\n".join(f"line {number}" for number in range(100))
    assert end_digest("\n".join(text.split("\n")[80:])) == end_digest(text)
    assert end_digest(text + "x") != end_digest(text)


def test_a_message_is_recognised_after_what_the_program_does_to_it() -> None:
    """A message is recognised without its tabs, zero-width characters and trailing blanks."""
    assert digest("a\tb \u200bc\x07\n\n") == digest("a    b c")
    assert digest("a") != digest("b")


def test_a_reply_written_before_its_prompt_is_found() -> None:
    """Entries of one flush are accepted in any order."""
    turn = Turn(digest("ask Which?"))
    for line in lines("2.1.300-ask-answered"):
        turn.feed(parse(line))
    assert turn.reply[-1].startswith("answered:")
    assert turn.end == COMPLETED


def test_a_failure_written_before_its_prompt_is_found() -> None:
    """A turn that failed at once may be written before its message; its error is reported."""
    turn = Turn(digest("say hi"))
    for entry in sorted(map(parse, lines("2.1.250-no-login")), key=lambda entry: entry.kind == "prompt"):
        turn.feed(entry)
    assert turn.is_over
    assert turn.end == Outcome("failed", "Not logged in \u00b7 Please run /login", "auth")


def test_the_end_of_the_turn_before_is_not_the_end() -> None:
    """The end and the texts of the previous turn are not mistaken for those of this turn, even after the offset."""
    turn = Turn(digest("say two"))
    entries = [parse(line) for line in lines("2.1.330-compact")]
    start = next(number for number, entry in enumerate(entries) if entry.texts == ("one",))
    for entry in entries[start : start + 2]:
        turn.feed(entry)
    second = next(number for number, entry in enumerate(entries) if entry.texts == ("say two",))
    turn.feed(entries[second])
    assert turn.end is None
    assert turn.reply == []


@given(st.binary(max_size=300))
def test_garbage_is_skipped(data: bytes) -> None:
    """A partial or unknown line is skipped, whatever it contains."""
    parse(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "message", "content", "text", "attachment", "timestamp", "operation", "prompt"]
                )
                | st.sampled_from(
                    ["origin", "kind", "name", "body", "promptSource", "isMeta", "turnPosition", "turnIndex"]
                ),
                inner
                | st.sampled_from(["user", "assistant", "system", "attachment", "queue-operation", "text", "enqueue"])
                | st.sampled_from(["peer", "queued_command", "<task-notification>"]),
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_json_of_any_shape_is_no_error(value: object) -> None:
    """A line of another version may have any shape."""
    turn = Turn("x")
    turn.feed(parse(json.dumps(value).encode()))


def test_a_subagent_keeps_the_turn_open() -> None:
    """A turn with a working subagent is not over at the first mark, but at the one after the subagent's report."""
    turn = Turn(digest(next(entry.text for entry in map(parse, lines("2.1.330-subagent")) if entry.kind == "prompt")))
    over = []
    for line in lines("2.1.330-subagent"):
        turn.feed(parse(line))
        if b"turn_duration" in line:
            over.append(turn.is_over)
    assert over == [False, True]


def test_a_subagent_that_works_in_its_turn_does_not() -> None:
    """With background tasks disabled, a subagent's report is a tool result, and the turn ends without waiting
    further."""
    turn = Turn(digest("subagent after 1 say found it"))
    for line in lines("2.1.250-subagent-in-turn"):
        turn.feed(parse(line))
    assert turn.is_over
    assert turn.reply == ["started"]


def test_a_background_command_does_not() -> None:
    """A turn that left a command in the background is over at its mark; the reply to that command's end is not its
    own."""
    entries = [parse(line) for line in lines("2.1.330-background-bash-finished")]
    turn = Turn(digest(next(entry.text for entry in entries if entry.kind == "prompt")))
    over = []
    for entry in entries:
        turn.feed(entry)
        over.append(turn.is_over)
    assert over.index(True) < len(over) - 5
    assert all(over[over.index(True) :])
    assert len(turn.reply) == 2


@pytest.mark.parametrize("path", sorted(DATA.glob("*.jsonl")), ids=lambda path: path.stem)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_transcript_read_in_pieces_has_the_same_turns(
    path: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same ends of turns are found, however a transcript is split while it is written."""
    whole = path.read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    growing = tmp_path_factory.mktemp("torn") / "t.jsonl"
    growing.touch()
    tail = Tail(growing, 0)
    prompts = [entry.text for entry in map(parse, whole.splitlines()) if entry.kind in ("prompt", "enqueue")]
    torn = [Turn(digest(prompt)) for prompt in prompts]
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        with open(growing, "ab") as stream:
            stream.write(whole[start:end])
        for entry in map(parse, tail.lines()):
            for turn in torn:
                turn.feed(entry)
    lined = [Turn(digest(prompt)) for prompt in prompts]
    for entry in map(parse, whole.splitlines()):
        for turn in lined:
            turn.feed(entry)
    assert torn == lined


@pytest.mark.parametrize(
    ("line", "session_id"),
    [
        (b'{"type":"continued-in","timestamp":"2026-11-29T04:54:50.469Z","continuedInSessionId":"ab62"}', "ab62"),
        (b'{"type":"continued-in","continuedInSessionId":7}', None),
        (b'{"type":"continued-in"', None),
        (b'{"type":"user","message":{"content":"continued-in"}}', None),
        (b"", None),
    ],
)
def test_the_continuing_session_is_read(line: bytes, session_id: str | None) -> None:
    """Only the program's own line says that a conversation continues elsewhere."""
    assert continued_in(line) == session_id


#: What somebody typed in these transcripts, all of which the program itself writes in the user's name, too.
TYPED_MARKUP = [
    "<task-notification> say x",
    "<command-name>/clear</command-name> hi",
    "<command-message>foo</command-message>\n<command-name>/foo</command-name>",
    "<bash-input>ls</bash-input>",
    "<bash-stdout>x</bash-stdout>",
    "<local-command-stdout>x</local-command-stdout>",
    "<user-memory-input>x</user-memory-input>",
    "[Request interrupted by user] hm",
    "Unknown skill: foo",
]
SUPPORTED = pytest.mark.parametrize("name", sorted(path.stem for path in TYPED_BY_SOMEBODY))


def turn_since(name: str, text: str, message: str, command: str | None = None) -> list[Turn]:
    """Yield the turn of a message after each line, from the one that contains a text until it is over."""
    turn, turns = Turn(digest(message), command), []
    recorded = lines(name)
    first = next(at for at, line in enumerate(recorded) if json.dumps(text)[1:-1].encode() in line)
    for line in recorded[first:]:
        turn.feed(parse(line))
        turns.append(copy.deepcopy(turn))
        if turn.is_over or turn.arrived == "command":
            break
    return turns


@SUPPORTED
def test_a_typed_message_may_look_like_markup(name: str) -> None:
    """A message that looks like the program's markup is logged, and the program's own markup is not."""
    human = [turn.text for turn in log_turns(lines(name)) if turn.role == "human" and turn.cause is None]
    queued = ["[Image #1]", "when q say d0", "<task-notification> say x", "[Image #2]", "run sleep 2"]
    assert human == [*TYPED_MARKUP, "background sleep 1", *queued, "<bash-input>ls</bash-input>"]


@SUPPORTED
@pytest.mark.parametrize("message", TYPED_MARKUP)
def test_a_message_that_looks_like_markup_has_its_turn(name: str, message: str) -> None:
    """A message that looks like markup arrives as a message, and its turn, end and reply are found."""
    turn = turn_since(name, TYPED_MARKUP[0], message)[-1]
    reply = "background work done" if message.startswith("<task-notification>") else f"echo: {message}"
    assert (turn.arrived in ("submitted", "queued"), turn.end, turn.reply) == (True, COMPLETED, [reply])


@SUPPORTED
@pytest.mark.parametrize("message", ["<task-notification> say x", "[Image #2]", "<bash-input>ls</bash-input>"])
def test_a_queued_message_that_looks_like_markup_is_proved_by_the_queue(name: str, message: str) -> None:
    """A queued message has arrived before it becomes a prompt of its own or is merged into the running turn."""
    turns = turn_since(name, "when q say d0", message)
    assert ("queued", False) in [(turn.arrived, turn.started) for turn in turns]
    assert turns[-1].started


@SUPPORTED
def test_a_message_that_quotes_a_notification_is_found(name: str) -> None:
    """A message that quotes the program's notification about a background command is proved to arrive."""
    (notification,) = {entry.text for entry in map(parse, lines(name)) if entry.kind == "enqueue_notification"}
    assert "queued" in [turn.arrived for turn in turn_since(name, "<task-id>", notification)]


@SUPPORTED
def test_a_queued_notification_is_not_waited_for(name: str) -> None:
    """The end of a background command is not mistaken for a message queued after the own one."""
    turn = turn_since(name, "background sleep 1", "background sleep 1")[-1]
    assert (turn.is_over, turn.reply) == (True, ["started"])


@SUPPORTED
def test_an_unknown_command_with_a_suggestion_is_recognised(name: str) -> None:
    """The name of an unknown command is found in the program's answer, also if that suggests another one."""
    assert turn_since(name, "Unknown command: /gre", "/gre", "/gre")[-1].is_unknown_command


@SUPPORTED
@pytest.mark.parametrize(
    ("message", "written"), [("/peers", "/list-agents<"), ("/greet me", "/greet<"), ("/context", "/context<")]
)
def test_a_command_sent_by_an_alias_is_found(name: str, message: str, written: str) -> None:
    """A command sent by an alias is recognised, although the program writes its first name."""
    turn = turn_since(name, written, message, message.split(maxsplit=1)[0])[-1]
    assert (turn.arrived, turn.is_unknown_command) == ("command", False)


def test_a_commands_answer_may_be_written_before_it() -> None:
    """If lines are written out of order (2.1.250), their times decide how a command was answered."""
    turn = Turn(digest("/greet me"), "/greet")
    disordered = sorted(lines("2.1.250-typed-markup"), key=lambda line: b"command-name>/greet<" in line)
    for line in disordered:
        if b"hello from me" in line or b"command-name>/greet<" in line:
            turn.feed(parse(line))
    assert turn.reply == ["hello from me"]


def human_texts(path: Path, idle: tuple[float, float] | None) -> list[str]:
    """Return what a user has said, as `logs` shows it."""
    return [turn.text for turn in log_turns(Tail(path, 0).lines(), idle) if turn.role == "human"]


@pytest.mark.parametrize("version", ["2.1.250", "2.1.332"])
def test_messages_that_were_taken_back_are_not_in_the_log(version: str) -> None:
    """A log leaves out what an interrupted Claude has taken back before it had replied, as soon as that is certain."""
    path = DATA / f"{version}-taken-back.jsonl"
    undelivered = ["after 60 say one", "after 60 say two"] if version == "2.1.332" else ["after 60 say two"]
    assert unanswered_messages(path) == ["after 60 say alone"]
    shown = human_texts(path, None)
    assert shown[0] == "say warm"
    assert not set(undelivered) & set(shown)
    assert shown[-2:] == ["say next", "after 60 say alone"], "it may still be worked on"
    assert human_texts(path, (0.0, 2e9)) == shown[:-1]
    assert human_texts(path, (1.9e9, 2e9)) == shown, "a Claude that has ended meanwhile may have sent it to the model"


@pytest.mark.parametrize("version", ["2.1.250", "2.1.332"])
def test_messages_that_were_put_back_are_known(version: str, tmp_path: Path) -> None:
    """After an interruption it is known which messages Claude may have put back into its input box."""
    written = (DATA / f"{version}-taken-back.jsonl").read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(written) if b'"say next"' in line)
    (tmp_path / "t.jsonl").write_bytes(b"".join(written[:first]))
    unanswered = unanswered_messages(tmp_path / "t.jsonl")
    assert unanswered == (["after 60 say one"] if version == "2.1.332" else []) + ["after 60 say two"]


def test_a_message_that_was_taken_back_has_no_answer() -> None:
    """The end of the turn before it, which is written after a message, is not the end of that message's turn."""
    for text in ("after 60 say one", "after 60 say two"):
        turn = Turn(digest(text))
        for line in lines("2.1.332-taken-back"):
            entry = parse(line)
            if entry.kind == "prompt" and entry.text == "say next":
                break
            turn.feed(entry)
        assert (turn.started, turn.is_unanswered, turn.end) == (True, True, None)


def test_an_interruption_names_the_reply_that_it_ends() -> None:
    """A message that was taken up while the interrupted turn was ended is not taken for interrupted itself."""
    written = Written("first")
    turn = Turn(digest("second"))
    written.turn = turn
    written.queue("second")
    written.prompt("second", at=5.0, promptSource="queued", origin={"kind": "human"})
    written.prompt("[Request interrupted by user]", at=5.1)  # as a text, which a user may type
    block = [{"type": "text", "text": "[Request interrupted by user for tool use]"}]
    line = {"type": "user", "timestamp": "2026-01-02T03:00:05.200Z", "message": {"content": block}}
    turn.feed(parse(json.dumps({**line, "interruptedMessageId": "msg_1"}).encode()))
    assert turn.end is None
    turn.feed(parse(json.dumps(line).encode()))
    assert turn.end == Outcome("interrupted")
