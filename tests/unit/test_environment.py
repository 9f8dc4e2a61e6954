"""What a new session gets of the environment of the command that creates it."""

from __future__ import annotations

import pytest

from dev_sessions.codex.environment import inherited
from dev_sessions.system.environment import independent_environment

USER = {
    "HOME": "/home/me",
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "EDITOR": "vi",
    "PAGER": "less",
    "GIT_AUTHOR_NAME": "Me",
    "CLAUDE_CONFIG_DIR": "/home/me/.claude-work",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "9000",
    "CLAUDE_CODE_OAUTH_TOKEN": "token",
    "CODEX_HOME": "/home/me/.codex-work",
    "CODEX_API_KEY": "key",
}
OF_CLAUDE = {
    "AI_AGENT": "claude-code_2-1-332_agent",
    "CLAUDECODE": "1",
    "CLAUDE_CODE_CHILD_SESSION": "1",
    "CLAUDE_CODE_SESSION_ID": "1d0181fc",
    "CLAUDE_CODE_SIMPLE": "1",
    "CLAUDE_CODE_BRIDGE_SESSION_ID": "b",
    "CLAUDE_PID": "4711",
    "GIT_EDITOR": "true",
    "NoDefaultCurrentDirectoryInExePath": "1",
}
OF_CODEX = {
    "CODEX_CI": "1",
    "CODEX_THREAD_ID": "01a2",
    "CODEX_VERSION": "0.171.0",
    "CODEX_MANAGED_BY_NPM": "1",
    "NO_COLOR": "1",
    "GH_PAGER": "cat",
    "GIT_PAGER": "cat",
    "LC_ALL": "C.UTF-8",
}
OF_CI = {"CI": "true", "FORCE_COLOR": "0", "GIT_PAGER": "cat"}
OF_HOOK = {
    "GIT_INDEX_FILE": ".git/index",
    "GIT_AUTHOR_DATE": "@1795965904 +0000",
    "GIT_EXEC_PATH": "/usr/lib/git-core",
    "GIT_EDITOR": ":",
    "GIT_PREFIX": "",
    "GIT_CONFIG_PARAMETERS": "'a.b'='c'",
}


@pytest.mark.parametrize("caller", [OF_CLAUDE, OF_CODEX, OF_CI], ids=["Claude", "Codex", "CI"])
def test_a_session_has_its_users_environment(caller: dict[str, str]) -> None:
    """What a caller sets for its own commands is not passed on, and what its user has set is."""
    assert independent_environment({**USER, **caller}) == USER


def test_a_session_made_in_a_git_hook_has_no_repository_of_the_hook() -> None:
    """What git sets for its hooks is not passed on: it would break the session's own git."""
    left = independent_environment({**USER, **OF_HOOK})
    assert left == {name: value for name, value in USER.items() if name != "GIT_AUTHOR_NAME"}


def test_a_persons_own_settings_are_kept_whatever_their_names() -> None:
    """In a person's shell, unknown variables of an agent are settings, and reach the session."""
    settings = {"CLAUDE_CODE_NEW_SETTING": "1", "CODEX_NEW_SETTING": "1", "GIT_PAGER": "cat", "LC_ALL": "C.UTF-8"}
    assert independent_environment(settings) == settings


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, {"HOME", "A_KEY", "B", "MINE"}),
        ({"inherit": "none"}, set()),
        ({"inherit": "core"}, {"HOME"}),
        ({"exclude": ["a_*"]}, {"HOME", "B", "MINE"}),
        ({"ignore_default_excludes": False}, {"HOME", "B", "MINE"}),
        ({"set": {"MINE": "theirs"}}, {"HOME", "A_KEY", "B"}),
    ],
)
def test_codex_policy_for_the_environment_of_commands_holds(policy: dict[str, object], kept: set[str]) -> None:
    """A thread inherits what the user's `shell_environment_policy` allows."""
    user = dict.fromkeys(("HOME", "A_KEY", "B", "MINE"), "x")
    assert set(inherited(user, policy)) == kept
