"""Report why a turn did not end well, and what to do next; and read such a report of another machine. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

from dev_sessions.errors import TurnFailed
from dev_sessions.models import Cli, Outcome, Reason, Session

#: What to do after a failure, before `dev-sessions send ID`; for any other reason, continue.
_NEXT: Mapping[Reason, str] = {
    "usage_limit": "send it again when the limit has been reset or raised",
    "rate_limit": "send it again in some minutes",
    "overloaded": "send it again",
    "network": "check the connection, and send it again",
    "billing": "check the plan and the payments of its account, and send it again",
    "model": "create a session with another --model, or change the model and send it again",
    "output_limit": "ask for less at a time",
    "policy": "change the message",
    "hook": "change the message, or the hook",
}
_CONTINUE = "continue the conversation with"
_AGAIN_AFTER = "try again after "
_CONTINUES_AFTER = "it continues by itself after "
_LOGIN: Mapping[Cli, str] = {"claude": "claude /login", "codex": "codex login"}
#: The beginning of a report, and the time in it. Warnings may stand before it. Compiled where a report is read: that
#: takes 0.3 ms, which other commands need not spend.
_REPORT = rf"(?m)^The turn of \S+ (failed|was interrupted)(?:: ({'|'.join(get_args(Reason))}))?(?=[:;])"
_RESET = rf"; ({_AGAIN_AFTER}|{_CONTINUES_AFTER})(\d{{4}}-\d\d-\d\dT[\d:.]+Z): "
_LOST = r"(?m)^\S+ is lost: "


def turn_failed(session: Session, outcome: Outcome) -> TurnFailed:
    """Return the error for a turn that failed or was interrupted::

    The turn of fizz-top failed: overloaded: API Error: 529 Overloaded; send it again: dev-sessions send fizz-top
    """
    verb = "was interrupted" if outcome.status == "interrupted" else "failed"
    words = "".join(f": {part}" for part in _words(outcome))
    text = f"The turn of {session.id} {verb}{words}; {_advice(session, outcome)}"
    return TurnFailed(text, outcome.reason or "unknown", outcome.resets_at, outcome.continues_at)


def summary(outcome: Outcome) -> str:
    """Return the reason with the agent's own words: `overloaded: API Error: 529 Overloaded`."""
    return ": ".join(_words(outcome))


def no_answer_warning(session_id: str, outcome: Outcome, *, said_some: bool, newest: str) -> str:
    """Return the warning that the newest text is not the answer to the last message, as its turn did not end well.

    `said_some`: that turn has a text. `newest` may be the agent's own report of the failure, or "" if there is no text.
    """
    verb = "was interrupted" if outcome.status == "interrupted" else "failed"
    reason = "" if outcome.reason in (None, "interrupted") else f" ({outcome.reason})"
    if newest and " ".join(newest.split()) == outcome.error:
        rest = ", and this text says why"
    elif said_some:
        rest = " after this text"
    else:
        rest = " without a text" + ("; this one is of an earlier turn" if newest else "")
    return f"the last turn of {session_id} {verb}{reason}{rest}"


def read(text: str) -> tuple[Reason | None, str | None, str | None]:
    """Return the reason, the end of the usage limit, and from when on the agent continues by itself, in an error of
    another machine; None for what it does not have.

    A version before 0.5.0 names no reason.
    """
    if re.search(_LOST, text):
        return "died", None, None
    found = re.search(_REPORT, text)
    if found is None:
        return None, None, None
    named = next((reason for reason in get_args(Reason) if reason == found[2]), None)
    reset = re.search(_RESET, text) if named == "usage_limit" else None
    reason: Reason | None = named or ("interrupted" if found[1] == "was interrupted" else None)
    if reset is None:
        return reason, None, None
    return reason, reset[2], reset[2] if reset[1] == _CONTINUES_AFTER else None


def of_status(status: object) -> Reason:
    """Return the reason for which a model's service answered with an HTTP status."""
    match status:
        case 401 | 403:
            return "auth"
        case 402:
            return "billing"
        case 408:
            return "network"
        case 413:
            return "context"
        case 429:
            return "rate_limit"
        case int() if 400 <= status < 500:
            return "invalid_request"
        case int() if status >= 500:
            return "overloaded"
    return "unknown"


def _words(outcome: Outcome) -> list[str]:
    # That it was interrupted is said already.
    reason = [] if outcome.reason in (None, "interrupted") else [str(outcome.reason)]
    return [*reason, *([outcome.error.removesuffix(".")] if outcome.error else [])]


def _advice(session: Session, outcome: Outcome) -> str:
    send = f"dev-sessions send {session.id}"
    match outcome.reason:
        case "usage_limit" if outcome.continues_at is not None:
            wait = f"dev-sessions wait {session.id} --through-limits"
            return f"{_CONTINUES_AFTER}{outcome.continues_at}: {wait}"
        case "usage_limit" if outcome.resets_at is not None:
            return f"{_AGAIN_AFTER}{outcome.resets_at}: {send}"
        case "auth":
            return f"log in: {_LOGIN[session.cli]} (or correct its API key), and send it again: {send}"
        case "context" if session.cli == "claude":
            return f"shorten the conversation: {send} /compact, or start a new session: dev-sessions create"
        case "context":
            return f"start a new session: dev-sessions create --cli {session.cli}"
        case reason:
            return f"{_NEXT.get(reason, _CONTINUE) if reason else _CONTINUE}: {send}"
