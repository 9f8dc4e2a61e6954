"""Rate doctor's checks, and read the agents' files for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.claude.preflight import Configuration
from dev_sessions.codex.preflight import login
from dev_sessions.doctor.check import Check, run_checks
from dev_sessions.doctor.run import adjust_verdicts

KEY = {"ANTHROPIC_API_KEY": "sk-made-up-for-these-tests-0123456789"}
READY = {"hasCompletedOnboarding": True, "bypassPermissionsModeAccepted": True}


def fine(name: str) -> Check:
    """Return a check without problems."""
    return Check(name, "ok", "fine")


def broken(name: str) -> Check:
    """Return a check that found something broken."""
    return Check(name, "broken", "fix it")


def test_a_check_that_fails_or_hangs_leaves_the_others_alone() -> None:
    """A check that fails or hangs results in a warning, and the others are not affected."""
    never = threading.Event()

    def fails() -> Iterator[Check]:
        raise RuntimeError("no\nway")

    def hangs() -> Iterator[Check]:
        never.wait()
        yield fine("hangs")

    looks = {"first": lambda: [fine("first")], "fails": fails, "hangs": hangs, "last": lambda: [fine("last")]}
    assert run_checks(looks, 0.3) == [
        fine("first"),
        Check("fails", "warning", "could not be checked: no way"),
        Check("hangs", "warning", "no answer within 0.3 s; find out what hangs"),
        fine("last"),
    ]
    never.set()


def test_one_agent_is_enough() -> None:
    """If one agent works, problems of the other one are warnings; without any agent they are errors."""
    seen = adjust_verdicts([broken("claude"), fine("codex"), broken("store")])
    assert [check.verdict for check in seen] == ["warning", "ok", "broken"]
    seen = adjust_verdicts([fine("claude"), broken("claude login"), broken("codex")])
    assert [check.verdict for check in seen] == ["ok", "broken", "broken"]
    seen = adjust_verdicts([broken("claude"), fine("codex")], {"claude"})
    assert [check.verdict for check in seen] == ["broken", "ok"]


def configure(folder: Path, monkeypatch: pytest.MonkeyPatch, state: object, settings: object) -> Path:
    """Create a home with Claude's configuration files."""
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".claude").mkdir()
    (folder / ".claude.json").write_text(json.dumps(state))
    (folder / ".claude" / "settings.json").write_text(json.dumps(settings))
    return folder / ".claude"


@pytest.mark.parametrize(
    ("state", "settings", "environ", "expected"),
    [
        ({}, {}, {}, None),
        ({}, {}, {"ANTHROPIC_AUTH_TOKEN": "x"}, "ANTHROPIC_AUTH_TOKEN"),
        ({}, {"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}, {}, "CLAUDE_CODE_USE_BEDROCK"),
        ({}, {"apiKeyHelper": "/bin/key"}, {}, "apiKeyHelper of its settings"),
        ({"oauthAccount": {"emailAddress": "me@localhost"}}, {}, {}, "its account"),
        ({}, {}, KEY, "ANTHROPIC_API_KEY"),
        ({"customApiKeyResponses": {"rejected": [KEY["ANTHROPIC_API_KEY"][-20:]]}}, {}, KEY, None),
        ([], "no object", {}, None),
    ],
)
def test_what_claude_is_logged_in_by(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: object,
    settings: object,
    environ: dict[str, str],
    expected: str | None,
) -> None:
    """A key, a token, another cloud, a helper or an account is a login; a rejected key is not."""
    assert Configuration(configure(tmp_path, monkeypatch, state, settings), environ).login() == expected


def test_claude_keeps_its_state_with_a_configuration_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CLAUDE_CONFIG_DIR, state and credentials are read from there."""
    configure(tmp_path, monkeypatch, {}, {})
    other = tmp_path / "other"
    other.mkdir()
    (other / ".claude.json").write_text(
        json.dumps({**READY, "projects": {str(tmp_path): {"hasTrustDialogAccepted": True}}})
    )
    (other / ".credentials.json").write_text("{}")
    found = Configuration(other, {})
    assert found.login() == "its credentials file"
    assert found.questions(str(tmp_path)) == []


@pytest.mark.parametrize(("migrated", "asks"), [(None, False), (10, False), (11, True), (15, True)])
def test_an_old_answer_counts_until_claude_has_moved_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, migrated: int | None, asks: bool
) -> None:
    """Once Claude has moved an answer into its settings, only those count."""
    # Not "/": while a command of Codex runs in its sandbox, there may be a /tmp/.git (0.171).
    above = str(tmp_path.parent)
    state = {**READY, "migrationVersion": migrated, "projects": {above: {"hasTrustDialogAccepted": True}}}
    found = Configuration(configure(tmp_path, monkeypatch, state, {}), {})
    assert bool(found.questions(str(tmp_path))) is asks


def test_a_worktree_is_trusted_with_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worktree is trusted if its repository is, and not if only a folder above it is."""
    worktree = tmp_path / "w"
    worktree.mkdir()
    (worktree / ".git").write_text(f"gitdir: {tmp_path}/repo/.git/worktrees/w\n")
    config_dir = configure(tmp_path, monkeypatch, {}, {})
    for trusted, expected in ((tmp_path / "repo", True), (tmp_path, False)):
        state = {**READY, "projects": {str(trusted): {"hasTrustDialogAccepted": True}}}
        (tmp_path / ".claude.json").write_text(json.dumps(state))
        assert (Configuration(config_dir, {}).questions(str(worktree)) == []) is expected


@pytest.mark.parametrize(
    ("config", "environ", "expected"),
    [
        ("", {}, None),
        ("", {"OPENAI_API_KEY": "x"}, "OPENAI_API_KEY"),
        ('model_provider = "mine"\n[model_providers.mine]\nname = "Mine"', {}, "its provider mine"),
        ('model_provider = "mine"\n[model_providers.mine]\nenv_key = "MY_KEY"', {}, None),
        ('model_provider = "mine"\n[model_providers.mine]\nenv_key = "MY_KEY"', {"MY_KEY": "x"}, "its provider mine"),
        ('model_provider = "mine"\n[model_providers.mine]\nrequires_openai_auth = true', {}, None),
    ],
)
def test_what_codex_is_logged_in_by(tmp_path: Path, config: str, environ: dict[str, str], expected: str | None) -> None:
    """A key, or a custom provider with the key that it needs, is a login."""
    (tmp_path / "config.toml").write_text(config)
    assert login(tmp_path, environ) == expected


def test_codex_is_logged_in_by_its_file(tmp_path: Path) -> None:
    """The file of `codex login` is a login, also without a configuration; invalid TOML is an error."""
    (tmp_path / "auth.json").write_text("{}")
    assert login(tmp_path, {}) == "its auth.json"
    (tmp_path / "config.toml").write_text("model = ")
    with pytest.raises(ValueError, match="Invalid value"):
        login(tmp_path, {})
