"""The last activity and the usage limits in a thread's rollout file (JSONL). Pure.

Every line has a `timestamp`, and after every response of the model comes a token count (0.150 to 0.171)::

    {"timestamp": "2026-11-23T09:57:54.390Z", "ordinal": 12, "type": "event_msg", "payload": {"type": "token_count",
     "info": {"total_token_usage": {"total_tokens": 5256, …}, "last_token_usage": {"total_tokens": 5256, …},
     "model_context_window": 258400, …}}}

`info` is null before the first response. `total_tokens` is the sum of input, cached or not, and output with reasoning.

A token count has the usage limits of the model's last response, too. So one stands before the end of a turn that met a
limit (0.150 to 0.171); the turn's error lacks the time::

    "rate_limits": {"primary": {"used_percent": 100.0, "window_minutes": 300, "resets_at": 1795960268},
     "secondary": null, …}
"""

from __future__ import annotations

from collections.abc import Iterable

from dev_sessions.models import Activity, timestamp
from dev_sessions.system.json_object import parse_object

_ACTIVITY_TYPES = ("event_msg", "response_item")
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
