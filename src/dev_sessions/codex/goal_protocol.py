"""Goals as the app-server gives and takes them: `thread/goal/get`, `set` and `clear`. Pure.

The same in 0.150 and 0.169. A user may have switched the feature off.
"""

from __future__ import annotations

import re

from dev_sessions.codex.jsonrpc import RpcError
from dev_sessions.errors import ProtocolError
from dev_sessions.models import Goal, GoalChange, JsonObject
from dev_sessions.record_json import goal_from_json

_SWITCHED_OFF = "goals feature is disabled"


def goal(result: JsonObject) -> Goal | None:
    """The goal in the answer to `thread/goal/get` or `set`: `{"goal": {…}}` or `{"goal": null}`."""
    raw = result.get("goal")
    if raw is None:
        return None
    try:
        return goal_from_json(raw if isinstance(raw, dict) else {})
    except ValueError as error:
        raise ProtocolError(
            f"Codex's app-server gave a goal that can't be understood ({error}); try another version of Codex"
        ) from error


def goal_set(thread_id: str, objective: str | None, status: GoalChange | None, token_budget: int | None) -> JsonObject:
    """Parameters of `thread/goal/set`. What is left out stays, but an explicit null takes the budget away."""
    given = {"objective": objective, "status": status, "tokenBudget": token_budget}
    return {"threadId": thread_id, **{name: value for name, value in given.items() if value is not None}}


def is_cleared(result: JsonObject) -> bool:
    """Whether there was a goal, from the answer to `thread/goal/clear`."""
    return result.get("cleared") is True


def is_switched_off(error: RpcError) -> bool:
    """Whether this Codex has goals switched off."""
    return _SWITCHED_OFF in error.message


def switched_off(session_id: str) -> str:
    """What to tell who wants a goal of a Codex that has them switched off."""
    return (
        f"Goals are switched off in the Codex of {session_id}: set `goals = true` under [features] in its"
        " config.toml, and have its app-server started again (it ends with the last session)"
    )


def has_no_goal(error: RpcError) -> bool:
    """Whether there is no goal that could be changed."""
    return "no goal exists" in error.message


def longest_objective(error: RpcError) -> int | None:
    """How many characters an objective may have, when one was refused for having more (measured: 4000)."""
    match = re.search(r"objective must be at most (\d+) characters", error.message)
    return int(match[1]) if match else None
