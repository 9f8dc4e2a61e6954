"""The parameters and results of `thread/goal/get`, `set` and `clear`. Pure.

The same in 0.150 and 0.169. A user may have disabled the feature.
"""

from __future__ import annotations

import re

from dev_sessions.codex.jsonrpc import RpcError
from dev_sessions.errors import ProtocolError
from dev_sessions.models import Goal, GoalChange, JsonObject
from dev_sessions.record_json import goal_from_json


def goal(result: JsonObject) -> Goal | None:
    """Return the goal in the result of `thread/goal/get` or `set`; None without one. Raises ProtocolError.

    `{"goal": {"threadId": "01a2…", "objective": "work", "status": "active", "tokenBudget": null, "tokensUsed": 0, …}}`
    """
    raw = result.get("goal")
    if raw is None:
        return None
    try:
        return goal_from_json(raw if isinstance(raw, dict) else {})
    except ValueError as error:
        raise ProtocolError(
            f"Codex's app-server returned a goal that is not valid ({error}); try another version of Codex"
        ) from error


def goal_set(thread_id: str, objective: str | None, status: GoalChange | None, token_budget: int | None) -> JsonObject:
    """Return the parameters of `thread/goal/set`. Codex keeps what is left out; an explicit null removes the budget."""
    changes = {"objective": objective, "status": status, "tokenBudget": token_budget}
    return {"threadId": thread_id, **{name: value for name, value in changes.items() if value is not None}}


def is_cleared(result: JsonObject) -> bool:
    """Return whether `thread/goal/clear` cleared a goal, from its result: `{"cleared": true}`."""
    return result.get("cleared") is True


def is_disabled(error: RpcError) -> bool:
    """Return whether a call was refused because this Codex has goals disabled."""
    return "goals feature is disabled" in error.message


def has_no_goal(error: RpcError) -> bool:
    """Return whether a change was refused because there is no goal."""
    return "no goal exists" in error.message


def max_objective_length(error: RpcError) -> int | None:
    """Return how many characters an objective may have, if one was refused for having more (0.169: 4000)."""
    match = re.search(r"objective must be at most (\d+) characters", error.message)
    return int(match[1]) if match else None
