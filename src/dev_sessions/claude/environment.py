"""The environment in which a session's Claude runs."""

from __future__ import annotations

from dev_sessions.claude import session_file
from dev_sessions.models import ClaudeSession
from dev_sessions.system import paths

#: Set to 1, it takes away the agents view (← on an empty box, /background), in which a conversation goes on in another
#: process under another id, and every command of the program about it (2.1.250 to 2.1.332).
NO_AGENTS_VIEW = "CLAUDE_CODE_DISABLE_AGENT_VIEW"


def for_session(session: ClaudeSession) -> dict[str, str]:
    """Return the caller's environment, less what marks an agent inside an agent, with the session's configuration."""
    environment = {**paths.independent_environment(), **session.variables}
    # Without this Claude refuses to run with all permissions as root.
    environment["IS_SANDBOX"] = "1"
    config_dir = session_file.config_dir(session)
    if config_dir != paths.claude_config_dir():
        # A session that is brought back lives where it lived. Only when it is told so, Claude looks for its
        # .claude.json in there, too.
        environment.pop("CLAUDE_CONFIG_DIR", None)
        if config_dir != paths.home() / ".claude":
            environment["CLAUDE_CONFIG_DIR"] = str(config_dir)
    return environment
