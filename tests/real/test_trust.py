"""A folder that is new to the agent."""

from __future__ import annotations

import pytest

from tests.support.cli import create, ok, records
from tests.support.git import repository
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.mark.parametrize("worktree", [[], ["--worktree"]], ids=["folder", "worktree"])
def test_a_new_folder_is_trusted_only_in_so_many_words(worktree: list[str], model: ScriptedModel) -> None:
    """Without --trust, the error names the option; with it, the session starts, and the folder stays trusted."""
    with Home(model.port, trusted=False) as home:
        folder = repository(home, trusted=False)
        done = home.cli("create", "-q", *worktree, cwd=folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        asked = f"Claude Code asks whether it may trust {folder}: accept that with"
        assert done.stderr.startswith(asked)
        assert records(home, "--all") == {}
        sid = ok(home.cli("create", "-q", "--trust", *worktree, cwd=folder)).strip()
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
        ok(home.cli("kill", sid))
        if not worktree:
            ok(home.cli("create", "-q", cwd=folder))


def test_trust_answers_no_other_dialog(model: ScriptedModel) -> None:
    """Any other dialog at the start is left to the user, with --trust, too."""
    with Home(model.port, trusted=False, bypass_accepted=False) as home:
        done = home.cli("create", "-q", "--trust", cwd=home.workspace())
        assert (done.returncode, done.stdout) == (1, "")
        assert "Claude Code asks something before it starts: run" in done.stderr
        assert "Yes, I accept" in done.stderr
        assert len(done.stderr.splitlines()) <= 11
        assert records(home, "--all") == {}


def test_codex_asks_for_no_trust(home: Home) -> None:
    """Codex starts in a new folder, with --trust or without it."""
    for options in ([], ["--trust"]):
        sid = create(home, "codex", *options)
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
