"""The agents' own options that a session may be created with."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev_sessions.agent_options import codex_config, merged, require_allowed
from dev_sessions.codex.protocol import thread_environment
from dev_sessions.errors import InvalidRequest
from dev_sessions.models import Cli


@pytest.mark.parametrize(
    ("cli", "args", "words"),
    [
        ("claude", ["--session-id", "x"], "--session-id of claude cannot be given: dev-sessions sets it"),
        (
            "claude",
            ["--effort", "low", "--model=opus"],
            "--model of claude cannot be given: use --model of dev-sessions",
        ),
        ("claude", ["-nfoo"], "-n of claude cannot be given"),
        ("claude", ["-p", "do this"], "send messages with: dev-sessions send"),
        ("claude", ["do this"], "'do this' is not an option of claude; send messages with"),
        ("claude", ["--verbose", "--", "do this"], "No prompt can be given"),
        ("claude", ["--effort", "high", "do this"], "'do this' is not an option of claude; send messages with"),
        ("claude", ["--effort=high", "do this"], "'do this' is not an option of claude"),
        ("claude", ["--tools", "Bash", "Read", "--verbose", "do this"], "'do this' is not an option of claude"),
        ("claude", ["--system-prompt", "-p", "-p"], "-p of claude cannot be given"),
        ("codex", ["--sandbox", "read-only"], "--sandbox of codex cannot be given: dev-sessions sets it"),
        ("codex", ["-c", "approval_policy=never"], "-c approval_policy of codex cannot be given"),
        ("codex", ["--config", "model=x"], "use --model of dev-sessions create"),
        ("codex", ["-c"], "-c of codex needs a value"),
        ("codex", ["-c", "high"], "needs key=value, not 'high'"),
        ("codex", ["--search"], "and no --search"),
        ("codex", ["do this"], "'do this' is not an option of codex"),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(cli: Cli, args: list[str], words: str) -> None:
    """An option that a session cannot have is refused by its name, with what to use instead."""
    with pytest.raises(InvalidRequest) as refused:
        require_allowed(cli, args)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "args",
    [
        ["--tools", "", "--add-dir", "/a", "/b", "--effort", "low"],
        ["--append-system-prompt", "-c is not -p", "--mcp-config={}", "--debug", "api"],
        ["--an-option-of-a-later-version", "value", "--verbose"],
    ],
)
def test_values_of_claudes_options_are_no_prompts(args: list[str]) -> None:
    """Options of Claude Code may have several values, and those may look like options."""
    require_allowed("claude", args)


def test_codex_options_become_configuration(tmp_path: Path) -> None:
    """Codex's options mean what they mean on its own command line: TOML or text, over the profile, table by table."""
    (tmp_path / "deep.config.toml").write_text('model_reasoning_effort = "low"\n[features]\ngoals = false\nx = true\n')
    args = ["-cmodel_reasoning_effort=high", "--profile=deep", "--enable", "goals", "--disable", "b"]
    args += ["-c", "tools.list=[1, 2]", "--config", "tools.deep.on=true", "-c", "note='a = b'", "-c", "when=2026-01-01"]
    require_allowed("codex", args)
    assert codex_config(args, tmp_path) == {
        "model_reasoning_effort": "high",
        "features": {"goals": True, "x": True, "b": False},
        "tools": {"list": [1, 2], "deep": {"on": True}},
        "note": "a = b",
        "when": "2026-01-01",
    }
    with pytest.raises(InvalidRequest, match=r"Cannot read the profile other of codex, .*other\.config\.toml"):
        codex_config(["-p", "other"], tmp_path)


def test_the_variables_of_a_session_cannot_be_replaced() -> None:
    """A session keeps its own variables, whatever others its options set."""
    options = codex_config(["-c", 'shell_environment_policy.set={MINE="1", DEV_SESSIONS_ID="x"}'], Path("/nowhere"))
    config = merged(options, thread_environment({"DEV_SESSIONS_ID": "fizz-top"}))
    assert config["shell_environment_policy"]["set"] == {"MINE": "1", "DEV_SESSIONS_ID": "fizz-top"}
