"""Build the environment of a session's Claude."""

from __future__ import annotations

from dev_sessions.claude import session_file
from dev_sessions.models import ClaudeSession
from dev_sessions.system import paths
from dev_sessions.system.environment import independent_environment

#: Set to 1, it disables the agents view (← on an empty box, /background), which moves a conversation to another process
#: under another id, and all commands of the program about it (2.1.250 to 2.1.332).
NO_AGENTS_VIEW = "CLAUDE_CODE_DISABLE_AGENT_VIEW"
#: Set to 1, it disables the surveys over the empty box (`1: Bad  2: Fine  3: Good  0: Dismiss`), which take a digit
#: that is meant as a message, and the offers that are shown like them (2.1.250 to 2.1.332).
NO_SURVEYS = "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY"


def for_session(session: ClaudeSession) -> dict[str, str]:
    """Return the user's environment (see `independent_environment`), with the session's configuration."""
    environment = {**independent_environment(), **session.variables}
    # Without this Claude refuses to run as root with all permissions.
    environment["IS_SANDBOX"] = "1"
    config_dir = session_file.config_dir(session)
    if config_dir != paths.claude_config_dir():
        # A recovered session keeps its configuration directory. Claude looks for its .claude.json in there only if this
        # variable is set.
        environment.pop("CLAUDE_CONFIG_DIR", None)
        if config_dir != paths.home() / ".claude":
            environment["CLAUDE_CONFIG_DIR"] = str(config_dir)
    return environment
