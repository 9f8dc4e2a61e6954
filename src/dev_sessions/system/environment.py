"""The environment of the user: that of this process, without what its caller has set for its own commands.

The caller may be an agent, a git hook or a CI job. An agent that is started with its variables works wrongly: with
CLAUDE_CODE_CHILD_SESSION it writes no transcript, with NO_COLOR or CI its hints look like a person's draft (Claude Code
2.1.332), with GIT_INDEX_FILE its commits go wrong, and with the ids `kill` counts it as part of its caller.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Variables that an agent sets for the processes of its session (Claude Code 2.1.332, Codex 0.171). If any is set, an
#: agent is the caller.
SESSION_MARKERS = frozenset(
    {
        "AI_AGENT",
        "CLAUDECODE",
        "CLAUDE_CODE_CHILD_NOTES_DIR",
        "CLAUDE_CODE_CHILD_SESSION",
        "CLAUDE_CODE_ENTRYPOINT",
        "CLAUDE_CODE_EXECPATH",
        "CLAUDE_CODE_MESSAGING_SOCKET",
        "CLAUDE_CODE_MESSAGING_TOKEN",
        "CLAUDE_CODE_SESSION_ATTENDED",
        "CLAUDE_CODE_SESSION_ID",
        "CLAUDE_EFFORT",
        "CLAUDE_PID",
        "CODEX_CI",
        "CODEX_SANDBOX",
        "CODEX_SANDBOX_NETWORK_DISABLED",
        "CODEX_SESSION_ID",
        "CODEX_THREAD_ID",
        "CODEX_TOOL_CALL_ID",
        "DEV_SESSIONS_CREATED_AT",
        "DEV_SESSIONS_ID",
        "SANDBOX_RUNTIME",
    }
)
#: Prefixes of the agents' variables.
_AGENT_PREFIXES = ("CLAUDE_", "CODEX_")
#: Variables of Claude Code in the cloud, as a runner, and of its tracing (2.1.332).
_CLOUD_VARIABLES = r"(CCR|SELF_HOSTED_RUNNER|SESSION_INGRESS)_\w+|TRACEPARENT|TRACESTATE"
#: What an agent passes on of its user's configuration; all other variables with its prefixes are its own.
_CONFIGURATION = (
    r"CLAUDE_(CONFIG_DIR|ENV_FILE|SECURESTORAGE_CONFIG_DIR|TMPDIR|(AFK|ASYNC|AX|AUTOCOMPACT|BASH|STREAM|ENABLE)_\w+"
    r"|CODE_((DISABLE|ENABLE|USE|SKIP|MAX|OTEL|CLIENT|PROXY|AUTO_COMPACT|AUTO_CONNECT|AUTO_BACKGROUND|IDE|GLOB|FILE_READ"
    r"|RETRY|ADDITIONAL|ATTRIBUTION|DEBUG|HIDE|NO|SCROLL|STREAM|WARN|WEBFETCH|RESUME_(THRESHOLD|TOKEN))_\w+"
    r"|(CUSTOM_)?OAUTH_(?!\w*FILE_DESCRIPTOR)\w+|API_KEY_HELPER\w+|SUBAGENT_(MODEL|EFFORT|PROMPT)\w*"
    r"|PLUGIN_(?!NAME|ATTRIBUTION)\w+|MCP_(?!SERVE)\w+|TMUX_(PREFIX|TRUECOLOR)|SHELL(_PREFIX)?|SUBPROCESS_ENV_SCRUB"
    r"|ACCESSIBILITY|ALWAYS_ENABLE_EFFORT|CERT_STORE|EFFORT_LEVEL|FORCE_SYNC_OUTPUT|GIT_BASH_PATH|HOST_HTTP_PROXY_PORT"
    r"|PERFORCE_MODE|SANDBOXED|SYNTAX_HIGHLIGHT|TMPDIR))"
    r"|CODEX_(HOME|SQLITE_HOME|CA_CERTIFICATE|URL|ROLLOUT_TRACE_ROOT"
    r"|(OSS|CLOUD_TASKS|TUI|AUTHAPI|APP_SERVER|REFRESH_TOKEN|REVOKE_TOKEN)_\w+|(?!EXEC_SERVER)\w+_(KEY|TOKEN))"
)
#: Colours and paging of the caller's terminal: agents and CI jobs have none.
_TERMINAL = frozenset({"CI", "CLICOLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "NO_COLOR"})
#: What Codex (0.171) and Claude Code (2.1.332) set for every command, with their values.
_COMMAND_DEFAULTS = {
    "COREPACK_ENABLE_AUTO_PIN": "0",
    "GH_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "LC_ALL": "C.UTF-8",
    "LC_CTYPE": "C.UTF-8",
    "MANPAGER": "cat",
    "NoDefaultCurrentDirectoryInExePath": "1",
    "PAGER": "cat",
    "SYSTEMD_PAGER": "cat",
}
#: The repository of the caller, which is not that of the session (git rev-parse --local-env-vars, but for settings).
_REPOSITORY = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
#: What git sets for its hooks, and a user may have set for every repository.
_HOOK = r"GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)|GIT_(EDITOR|EXEC_PATH|REFLOG_ACTION|PUSH_OPTION_\w+)"
#: Variables that describe a terminal or a shell and not the user.
_SHELL = r"TERM\w*|TMUX(_PANE)?|STY|COLORTERM|COLUMNS|LINES|WINDOWID|PWD|OLDPWD|SHLVL|_|BASH_ENV|SSH_TTY"


def independent_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment (default: that of this process) without what its caller set for its own commands."""
    environ = os.environ if environ is None else environ
    by_agent = not SESSION_MARKERS.isdisjoint(environ)
    by_job = by_agent or bool(environ.get("CI"))
    by_hook = "GIT_EXEC_PATH" in environ and not _REPOSITORY.isdisjoint(environ)
    return {
        name: value
        for name, value in environ.items()
        if not (
            name in _TERMINAL
            or name in _REPOSITORY
            or (by_agent and is_of_agent(name))
            or (by_job and _COMMAND_DEFAULTS.get(name) == value)
            or (by_hook and re.fullmatch(_HOOK, name))
        )
    }


def without_terminal(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables that describe the terminal or the shell of its process."""
    return {name: value for name, value in environ.items() if not re.fullmatch(_SHELL, name)}


def is_of_agent(name: str) -> bool:
    """Return whether an agent sets a variable for its own session; its user's configuration is kept."""
    if name in SESSION_MARKERS or re.fullmatch(_CLOUD_VARIABLES, name):
        return True
    return name.startswith(_AGENT_PREFIXES) and not re.fullmatch(_CONFIGURATION, name)
