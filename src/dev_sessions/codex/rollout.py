"""A thread's rollout file, JSONL, as far as its end tells what a thread did last. Pure.

Seen on 0.150 to 0.171: every line has a `timestamp`, and after every answer of the model comes
`{"type": "event_msg", "payload": {"type": "token_count", "info": {"total_token_usage": {"total_tokens": N, …},
"last_token_usage": {"total_tokens": N, …}, …}}}`; `info` is null before the first. `total_tokens` is input, cached or
not, with output, that of reasoning included.
"""

from __future__ import annotations

import json

from dev_sessions.models import Activity

_SAID_OR_DONE = ("event_msg", "response_item")


def trace(line: bytes) -> Activity:
    """When a line was written to the conversation, and the tokens that it counts."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return Activity()
    match record:
        case {"type": str(kind), "timestamp": str(at), **rest} if kind in _SAID_OR_DONE:
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
