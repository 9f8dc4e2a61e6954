"""The last activity, the end of the last turn and the usage limits in a thread's rollout file (JSONL). Pure.

Every line has a `timestamp`, and after every response of the model comes a token count (0.150 to 0.171)::

    {"timestamp": "2026-11-23T09:57:54.390Z", "ordinal": 12, "type": "event_msg", "payload": {"type": "token_count",
     "info": {"total_token_usage": {"total_tokens": 5256, …}, "last_token_usage": {"total_tokens": 5256, …},
     "model_context_window": 258400, …}}}

`info` is null before the first response. `total_tokens` is the sum of input, cached or not, and output with reasoning.

A turn begins with `task_started` and ends with `task_complete`, or `turn_aborted` (0.150 to 0.171). One that failed has
an `error` there, and no message::

    {"timestamp": "…", "type": "event_msg", "payload": {"type": "task_complete", "turn_id": "01a2289f-2379-…",
     "last_agent_message": "hello", …}}

The first line says what the thread is a fork of (0.150 to 0.171)::

    {"timestamp": "…", "type": "session_meta", "payload": {"timestamp": "2026-11-29T18:51:39.171Z",
     "forked_from_id": "01a228a6-02bb-…", "thread_source": "dev-sessions/fizz-top", …}}

A token count has the usage limits of the model's last response, too. So one stands before the end of a turn that met a
limit (0.150 to 0.171); the turn's error lacks the time::

    "rate_limits": {"primary": {"used_percent": 100.0, "window_minutes": 300, "resets_at": 1795960268},
     "secondary": null, …}
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from dev_sessions.models import Activity, parse_timestamp, timestamp
from dev_sessions.system.json_object import parse_object

_ACTIVITY_TYPES = ("event_msg", "response_item")
_TURN_EVENTS = (b'"task_started"', b'"task_complete"', b'"turn_aborted"')
#: Lines at the end of a rollout in which the end of its last turn stands (measured: 1 to 3).
_MAX_LINES = 20
_USED_UP = 100
#: The year 3000: no later time can be meant.
_LATEST_TIME = 32503680000


def activity(line: bytes) -> Activity:
    """Return when a line was written, and the tokens that it counts; an empty activity for any other line."""
    match parse_object(line):
        case {"type": str(kind), "timestamp": str(at), **rest} if kind in _ACTIVITY_TYPES:
            match rest.get("payload"):
                case {
                    "type": "token_count",
                    "info": {
                        "total_token_usage": {"total_tokens": int(total)},
                        "last_token_usage": {"total_tokens": int(last)},
                        **info,
                    },
                }:
                    window = info.get("model_context_window")
                    return Activity(at, last, total, window if isinstance(window, int) else None)
            return Activity(at)
    return Activity()


def answered_turn(lines: Iterable[bytes]) -> str | None:
    """Return the id of the newest turn if it has ended with an answer; None if it has not, or that is not known.

    `lines` come in reverse order.
    """
    for line in islice(lines, _MAX_LINES):
        if not any(event in line for event in _TURN_EVENTS):
            continue
        match parse_object(line):
            case None:
                return None
            case {"type": "event_msg", "payload": {"type": "task_started" | "turn_aborted"}}:
                return None
            case {"type": "event_msg", "payload": {"type": "task_complete", **ended}}:
                turn, text = ended.get("turn_id"), ended.get("last_agent_message")
                succeeded = isinstance(text, str) and not ended.get("error")
                return turn if isinstance(turn, str) and succeeded else None
    return None


def forked_thread(first_line: bytes, source: str, since: str) -> str | None:
    """Return what a thread is a fork of, if it has that source and was started after a time (ISO 8601)."""
    match parse_object(first_line):
        case {"payload": {"thread_source": str(own), "forked_from_id": str(forked), "timestamp": str(at)}}:
            return forked if own == source and _is_after(at, since) else None
    return None


def _is_after(at: str, since: str) -> bool:
    try:
        return parse_timestamp(at) >= parse_timestamp(since)
    except ValueError:
        return False


def limit_resets_at(lines: Iterable[bytes]) -> str | None:
    """Return when all usage limits that are used up have been reset (ISO 8601); None if no time is known.

    `lines` come in reverse order.
    """
    for line in lines:
        if b'"token_count"' not in line or b'"rate_limits"' not in line:
            continue
        match parse_object(line):
            case {"type": "event_msg", "payload": {"type": "token_count", "rate_limits": dict(limits)}}:
                resets = [
                    reset
                    for name in ("primary", "secondary")
                    if (reset := _reset_of_used_up(limits.get(name))) is not None
                ]
                return timestamp(max(resets)) if resets else None
    return None


def _reset_of_used_up(window: object) -> int | None:
    match window:
        case {"used_percent": int() | float() as used, "resets_at": int(reset)} if used >= _USED_UP:
            return reset if 0 < reset < _LATEST_TIME else None
    return None
