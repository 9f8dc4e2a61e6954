"""Why a turn failed: read from each agent's own fields, reported in one sentence, and read from another machine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from dev_sessions import failures
from dev_sessions.claude.failure import resets_at
from dev_sessions.claude.message_text import digest
from dev_sessions.claude.transcript import parse
from dev_sessions.claude.turn import Turn
from dev_sessions.codex import failure, turns
from dev_sessions.codex.protocol import ThreadStatus
from dev_sessions.codex.rollout import limit_resets_at
from dev_sessions.models import ClaudeSession, CodexSession, Outcome, Reason, Session, known_reason
from dev_sessions.operations import List, Status
from dev_sessions.record_json import session_to_json
from dev_sessions.remote import command_line
from dev_sessions.system.programs import Completed
from tests.support.recordings import Recording

DATA = Path(__file__).parents[1] / "data"
CLAUDE = ClaudeSession(id="fizz-top", internal_id="a", path="/w", created_at="2026-01-01", last_used="2026-01-01")
CODEX = CodexSession(id="vi-jg", internal_id="a", path="/w", created_at="2026-01-01", last_used="2026-01-01")
RESET = "2026-11-29T13:50:14.000Z"
#: The words of `CodexErrorInfo` in the schemas of 0.150, 0.169 and 0.171 that are not `other`, and carry no status.
CODEX_WORDS = """contextWindowExceeded sessionBudgetExceeded usageLimitExceeded rateLimitExceeded flexUnavailable
    serverOverloaded modelNotFound policyCapacityUnavailable cyberPolicy bioPolicy misalignmentPolicyViolation
    tooManyDenials internalServerError unauthorized badRequest threadRollbackFailed sandboxError
    inferenceHookDenied""".split()
CODEX_WORDS_WITH_STATUS = """httpConnectionFailed responseStreamConnectionFailed responseStreamDisconnected
    responseTooManyFailedAttempts""".split()


def claude_reasons(recording: str) -> list[Reason | None]:
    """Return the reason of each failure in a recording."""
    lines = (DATA / "claude" / f"{recording}.jsonl").read_bytes().splitlines()
    return [entry.reason for entry in map(parse, lines) if entry.failed and entry.kind == "reply"]


@pytest.mark.parametrize(
    ("recording", "reasons"),
    [
        (
            "2.1.332-failures",
            "auth model rate_limit overloaded context context billing policy context output_limit usage_limit network",
        ),
        ("2.1.250-failures", "auth model rate_limit overloaded context context billing policy usage_limit network"),
        ("2.1.250-no-login", "auth"),
        ("2.1.330-api-error-400", "invalid_request"),
        ("2.1.330-api-error-529-exhausted", "overloaded"),
        ("2.1.332-usage-limit-continues-by-itself", "usage_limit usage_limit"),
    ],
)
def test_claudes_failures_have_reasons(recording: str, reasons: str) -> None:
    """Each failure that was recorded has its reason."""
    assert claude_reasons(recording) == reasons.split()


def test_claude_says_when_its_limit_ends() -> None:
    """The outcome of a turn that met a usage limit has the time at which that ends."""
    lines = (DATA / "claude" / "2.1.332-usage-limit-continues-by-itself.jsonl").read_bytes().splitlines()
    entries = [parse(line) for line in lines]
    ends = [entry.resets_at for entry in entries if entry.reason == "usage_limit"]
    assert ends == ["2026-11-29T02:57:23.000Z", "2026-11-29T02:59:23.000Z"]
    turn = Turn("")
    turn.feed(next(entry for entry in entries if entry.reason == "usage_limit"))
    assert turn.end is not None
    assert (turn.end.reason, turn.end.resets_at) == ("usage_limit", "2026-11-29T02:57:23.000Z")


def test_claude_says_from_when_on_it_continues() -> None:
    """The outcome of a turn that Claude will continue by itself after a usage limit says so, until it gives that up."""
    lines = (DATA / "claude" / "2.1.332-usage-limit-continues-by-itself.jsonl").read_bytes().splitlines()
    entries = [parse(line) for line in lines]
    turn = Turn(digest("say LIMIT 30"))
    announced = next(number for number, entry in enumerate(entries) if entry.kind == "will_continue")
    for entry in entries[: announced + 1]:
        turn.feed(entry)
    assert turn.is_over
    assert turn.end is not None
    assert turn.own_end is not None
    assert (turn.end.continues_at, turn.own_end.continues_at) == ("2026-11-29T02:57:23.000Z",) * 2
    turn.feed(parse(informational("Automatic continue cancelled · /rate-limit-options to wait again")))
    assert (turn.end.reason, turn.end.continues_at) == ("usage_limit", None)


def informational(words: str) -> bytes:
    """Return a line with which Claude tells its user something, at the end of that recording."""
    at = "2026-11-29T02:59:55.000Z"
    record = {"type": "system", "subtype": "informational", "content": words, "level": "notice", "timestamp": at}
    return json.dumps(record).encode()


def test_a_hook_that_blocks_is_the_reason() -> None:
    """A queued message that a hook blocked has a turn that failed because of the hook."""
    content = "UserPromptSubmit operation blocked by hook:\n[check]: no dogs\n\n\nOriginal prompt: dog"
    record = {"type": "system", "subtype": "informational", "content": content, "timestamp": RESET}
    turn = Turn(digest("dog"))
    turn.feed(parse(json.dumps(record).encode()))
    assert turn.end is not None
    assert (turn.end.status, turn.end.reason) == ("failed", "hook")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"error": "sunspots"},
        {"error": ["rate_limit"], "apiError": {"a": 1}, "apiErrorStatus": "529", "quotaLimits": [], "errorDetails": 3},
        {"quotaLimits": {"status": None, "resetsAt": 1e300}, "apiErrorParams": "cut", "error": None},
        {"quotaLimits": {"resetsAt": "soon"}, "apiErrorStatus": -1},
    ],
)
def test_an_unknown_failure_of_claude_is_unknown(fields: dict[str, Any]) -> None:
    """Fields that no known version writes are a failure of an unknown reason."""
    message = {"role": "assistant", "content": [{"type": "text", "text": "API Error: no"}]}
    record = {"type": "assistant", "isApiErrorMessage": True, "message": message, **fields}
    entry = parse(json.dumps(record).encode())
    assert (entry.failed, entry.reason, entry.resets_at) == (True, "unknown", None)
    assert resets_at(fields) is None


@pytest.mark.parametrize("version", ["0.150.0", "0.169.0"])
def test_codexs_failures_have_reasons(version: str) -> None:
    """Each failure that was recorded has its reason: 400, 401, 500, a broken stream, too long, no quota."""
    newest_first = [turn for turn in Recording(version, "failures").history() if turn.state == "failed"]
    reasons = [turn.reason for turn in reversed(newest_first)]
    assert reasons == ["invalid_request", "auth", "overloaded", "network", "context", "usage_limit"]
    outcome = turns.outcome(ThreadStatus("systemError"), newest_first, None)
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("failed", "usage_limit")


def test_a_key_of_a_provider_that_is_not_set() -> None:
    """A turn that fails because the variable with the provider's key is not set has failed for its login."""
    error = {"message": "Missing environment variable: `MY_KEY`. get one", "codexErrorInfo": "other"}
    assert failure.reason_of(error) == "auth"
    assert failure.reason_of({**error, "message": "no `MY_KEY`"}) == "unknown"


def test_every_word_of_codex_is_known() -> None:
    """Every reason that Codex can give is read; only for those that fit none it is unknown."""
    reasons = {word: failure.reason_of({"message": "no", "codexErrorInfo": word}) for word in CODEX_WORDS}
    assert [word for word, reason in reasons.items() if reason == "unknown"] == ["threadRollbackFailed", "sandboxError"]
    for word in CODEX_WORDS_WITH_STATUS:
        info = [{word: {"httpStatusCode": status}} for status in (401, 402, 413, 418, 429, 503, None)]
        found = [failure.reason_of({"message": "no", "codexErrorInfo": details}) for details in info]
        assert found == ["auth", "billing", "context", "invalid_request", "rate_limit", "overloaded", "network"]
    steered = {"activeTurnNotSteerable": {"turnKind": "review"}}
    assert failure.reason_of({"message": "no", "codexErrorInfo": steered}) == "invalid_request"


@pytest.mark.parametrize(
    "error",
    [
        "no",
        {},
        {"message": 7, "codexErrorInfo": 7},
        {"message": "no", "codexErrorInfo": "sunspots"},
        {"message": "no", "codexErrorInfo": {"sunspots": {"httpStatusCode": 401}}},
        {"message": "no", "codexErrorInfo": {"httpConnectionFailed": {"httpStatusCode": "401"}}},
        {"message": "{", "codexErrorInfo": "other"},
        {"message": '{"error": 7}', "codexErrorInfo": {}},
        {"message": "[" * 100_000, "codexErrorInfo": None},
    ],
)
def test_an_unknown_failure_of_codex_is_unknown(error: object) -> None:
    """An error that no known version sends is a failure of an unknown reason."""
    assert failure.reason_of(error) == "unknown"


@pytest.mark.parametrize(
    ("version", "reset"), [("0.150.0", "2026-11-29T13:51:37.000Z"), ("0.171.0", "2026-11-29T13:51:08.000Z")]
)
def test_codex_says_when_its_limit_ends(version: str, reset: str) -> None:
    """The rollout of a thread that met a usage limit has the time at which that ends."""
    lines = (DATA / "rollouts" / f"{version}-usage-limit.jsonl").read_bytes().splitlines()
    assert limit_resets_at(reversed(lines)) == reset


@pytest.mark.parametrize(
    ("limits", "reset"),
    [
        ({"primary": {"used_percent": 100.0, "resets_at": 1795960214}}, RESET),
        (
            {
                "primary": {"used_percent": 100, "resets_at": 1},
                "secondary": {"used_percent": 100, "resets_at": 1795960214},
            },
            RESET,
        ),
        (
            {
                "primary": {"used_percent": 100, "resets_at": 1795960214},
                "secondary": {"used_percent": 9, "resets_at": 1995960214},
            },
            RESET,
        ),
        ({"primary": {"used_percent": 99.9, "resets_at": 1795960214}}, None),
        ({"primary": {"used_percent": 100.0, "resets_at": None}, "secondary": 7}, None),
        ({"primary": {"used_percent": 100.0, "resets_at": 10**30}}, None),
    ],
)
def test_a_limit_ends_when_all_that_is_used_up_is_reset(limits: dict[str, Any], reset: str | None) -> None:
    """Only limits that are used up count, and of several the one that is reset last."""
    count = {"type": "event_msg", "payload": {"type": "token_count", "info": None, "rate_limits": limits}}
    assert limit_resets_at([b'{"token_count" "rate_limits"', b"{}", json.dumps(count).encode()]) == reset


@pytest.mark.parametrize("session", [CLAUDE, CODEX], ids=lambda session: session.cli)
@pytest.mark.parametrize("reason", get_args(Reason))
@pytest.mark.parametrize("status", ["failed", "interrupted"])
@pytest.mark.parametrize("words", ["why: auth: not; never", None])
def test_a_report_is_read_as_it_was_meant(session: Session, reason: Reason, status: Any, words: str | None) -> None:
    """The sentence about a failed turn begins as ever, and has the reason in it, which another machine reads."""
    outcome = Outcome(status, words, reason, RESET if reason == "usage_limit" else None)
    error = failures.turn_failed(session, outcome)
    verb = "failed" if status == "failed" else "was interrupted"
    assert str(error).startswith(f"The turn of {session.id} {verb}")
    assert "\n" not in str(error)
    if (status, reason) == ("failed", "interrupted"):
        return  # which is no failure
    for text in (str(error), f"Warning: it is late\n{error}\n"):
        assert failures.read(text) == (error.reason, error.resets_at, None) == (reason, outcome.resets_at, None)


def test_a_report_of_a_turn_that_continues_is_read_as_it_was_meant() -> None:
    """Another machine reads from the sentence that the agent continues by itself, and from when on."""
    outcome = Outcome("failed", "no more; never", "usage_limit", RESET, RESET)
    assert failures.read(str(failures.turn_failed(CLAUDE, outcome))) == ("usage_limit", RESET, RESET)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The turn of fizz-top failed: scripted failure 400; continue the conversation with: …", None),
        ("The turn of fizz-top was interrupted; continue the conversation with: …", "interrupted"),
        ("The turn of fizz-top was interrupted: Claude ended; continue the conversation with: …", "interrupted"),
        ("fizz-top is lost: its process is gone. `dev-sessions recover fizz-top --yes` restores it …", "died"),
        ("Session not found: fizz-top", None),
        ("", None),
    ],
)
def test_a_report_without_a_reason_is_read(text: str, reason: Reason | None) -> None:
    """The sentence of a version that gives no reasons is read as far as it goes."""
    assert failures.read(text) == (reason, None, None)


@pytest.mark.parametrize(
    ("session", "outcome", "advice"),
    [
        (CLAUDE, Outcome("failed", "no", "auth"), "; log in: claude /login ("),
        (CODEX, Outcome("failed", "no", "auth"), "; log in: codex login ("),
        (CLAUDE, Outcome("failed", "no", "usage_limit", RESET), f"; try again after {RESET}: "),
        (
            CLAUDE,
            Outcome("failed", "no", "usage_limit", RESET, RESET),
            f"; it continues by itself after {RESET}: dev-sessions wait fizz-top --through-limits",
        ),
        (CODEX, Outcome("failed", "no", "usage_limit"), "; send it again when the limit has been reset or raised: "),
        (CLAUDE, Outcome("failed", "no", "context"), "; shorten the conversation: dev-sessions send fizz-top /compact"),
        (CODEX, Outcome("failed", "no", "context"), "; start a new session: dev-sessions create --cli codex"),
        (CLAUDE, Outcome("failed", "no", "overloaded"), "; send it again: dev-sessions send fizz-top"),
        (CLAUDE, Outcome("failed", "Try later.", "overloaded"), ": Try later; send it again: dev-sessions send"),
        (CODEX, Outcome("failed", "no"), "; continue the conversation with: dev-sessions send vi-jg"),
        (CODEX, Outcome("interrupted"), "; continue the conversation with: dev-sessions send vi-jg"),
    ],
)
def test_what_to_do_fits_the_reason(session: Session, outcome: Outcome, advice: str) -> None:
    """After each reason the error says what helps, with this agent."""
    assert advice in str(failures.turn_failed(session, outcome))


def test_a_word_of_a_later_version_is_unknown() -> None:
    """A reason that this version does not know is unknown; no reason is none."""
    assert [known_reason(word) for word in ("auth", "sunspots", 7, None)] == ["auth", "unknown", "unknown", None]


@pytest.mark.parametrize(
    ("fields", "reason", "reset"),
    [
        ({}, None, None),
        ({"reason": "usage_limit", "resetsAt": RESET}, "usage_limit", RESET),
        ({"reason": "sunspots", "since": RESET, "alsoNew": 1}, "unknown", None),
    ],
)
def test_a_far_end_of_another_version_is_understood(
    fields: dict[str, Any], reason: Reason | None, reset: str | None
) -> None:
    """The state of a session on a machine with an older or a later version has what both versions know."""
    printed = json.dumps({"state": "idle", **fields})
    state = command_line.decode(Status(session_id="vi-jg", detail=True), Completed(0, printed, ""))
    assert (state.state, state.reason, state.resets_at) == ("idle", reason, reset)
    row = {**session_to_json(CODEX), "state": "idle", **fields}
    (listed,) = command_line.decode(List(), Completed(0, json.dumps([row]), "")).rows
    assert listed.state is not None
    assert (listed.state.reason, listed.state.resets_at) == (reason, reset)
