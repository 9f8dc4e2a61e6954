"""The last activity in a thread's rollout file (JSONL). Pure.

Every line has a `timestamp`, and after every response of the model comes a token count (0.150 to 0.171)::

    {"timestamp": "2026-11-23T09:57:54.390Z", "ordinal": 12, "type": "event_msg", "payload": {"type": "token_count",
     "info": {"total_token_usage": {"total_tokens": 5256, …}, "last_token_usage": {"total_tokens": 5256, …}, …}}}

`info` is null before the first response. `total_tokens` is the sum of input, cached or not, and output with reasoning.
"""

from __future__ import annotations

import json

from dev_sessions.models import Activity

_ACTIVITY_TYPES = ("event_msg", "response_item")


def activity(line: bytes) -> Activity:
    """Return when a line was written, and the tokens that it counts; an empty activity for any other line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return Activity()
    match record:
        case {"type": str(kind), "timestamp": str(at), **rest} if kind in _ACTIVITY_TYPES:
            match rest.get("payload"):
                case {
                    "type": "token_count",
                    "info": {
                        "total_token_usage": {"total_tokens": int(total)},
                        "last_token_usage": {"total_tokens": int(last)},
                    },
                }:
                    return Activity(at, last, total)
            return Activity(at)
    return Activity()
