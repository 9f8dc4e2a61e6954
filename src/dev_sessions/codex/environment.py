"""Give the commands of a session's thread the environment of its user.

All threads share an app-server, whose environment is that of whoever started it. So each thread gets its own, in the
configuration with which it is started or loaded: Codex keeps that in memory only (0.150 to 0.171).
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from dev_sessions.codex import protocol
from dev_sessions.codex.client import CallRefused, Client
from dev_sessions.models import CodexSession, JsonObject
from dev_sessions.system import environment

#: What `inherit = "core"` keeps, and what `ignore_default_excludes = false` removes.
_CORE = frozenset({"HOME", "LOGNAME", "PATH", "SHELL", "TEMP", "TMP", "TMPDIR", "USER", "USERNAME"})
_DEFAULT_EXCLUDES = ("*KEY*", "*SECRET*", "*TOKEN*")


def configuration(client: Client, session: CodexSession) -> JsonObject:
    """Return the configuration of a thread, by which its commands get this process's environment."""
    try:
        policy = protocol.environment_policy(client.call("config/read", {"cwd": session.path}))
    except CallRefused:
        policy = {}
    user = environment.without_terminal(environment.independent_environment())
    return protocol.thread_environment({**inherited(user, policy), **session.variables})


def inherited(user: Mapping[str, str], policy: Mapping[str, Any]) -> dict[str, str]:
    """Return what a thread inherits of an environment under the user's `shell_environment_policy`.

    What the policy sets and includes is left to Codex.
    """
    if policy.get("inherit") == "none" or policy.get("filters"):
        return {}
    kept = {name: value for name, value in user.items() if policy.get("inherit") != "core" or name in _CORE}
    patterns = [str(pattern).upper() for pattern in policy.get("exclude") or ()]
    if policy.get("ignore_default_excludes") is False:
        patterns += _DEFAULT_EXCLUDES
    own = policy.get("set") or {}
    return {
        name: value
        for name, value in kept.items()
        if name not in own and not any(fnmatchcase(name.upper(), pattern) for pattern in patterns)
    }
