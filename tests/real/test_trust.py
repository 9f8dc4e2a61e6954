"""A folder that is new to the agent."""

from __future__ import annotations

import json
import re
import sys

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import VERSION
from tests.support.cli import create, ok, records
from tests.support.git import repository
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.mark.parametrize(
    "worktree",
    [pytest.param([], id="folder"), pytest.param(["--worktree"], id="worktree", marks=pytest.mark.matrix)],
)
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


@pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version asks in other words")
def test_the_servers_of_a_project_are_approved_by_the_user(model: ScriptedModel) -> None:
    """If Claude asks about the servers of a project's `.mcp.json`, `create` shows all that it asks, --trust does not
    answer it, and the session starts with the setting in the error, or after an answer to the command in it."""
    with Home(model.port, trusted=False) as home:
        folder, options = home.workspace(), ("-q", "--", "--permission-mode", "default")
        ok(home.cli("kill", ok(home.cli("create", "-q", "--trust", cwd=folder)).strip()))
        server = {"command": sys.executable, "args": ["-c", "input()"]}
        (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"made-up": server}}))
        failed = [home.cli("create", *trust, *options, cwd=folder) for trust in ((), ("--trust",))]
        for done in failed:
            assert (done.returncode, done.stdout) == (1, "")
            for words in ("made-up", "Use this MCP server\n", "Use this and all future", "Continue without using this"):
                assert words in done.stderr
        assert records(home, "--all") == {}
        begins = rf"Claude Code asks about the servers in {folder}/\.mcp\.json: "
        advised = re.match(rf"{begins}.* --settings '(.*)' .* or run (.*) there", failed[0].stderr)
        assert advised is not None
        settings = advised[1].replace("NAME", "made-up")
        ok(home.cli("kill", ok(home.cli("create", *options, "--settings", settings, cwd=folder)).strip()))
        ok(home.tmux("new-session", "-d", "-s", "person", "-x", "120", "-y", "40", "-c", folder, advised[2]))
        answer_as_person(
            home, {"❯ Continue without using": "Up", "❯ Use this and all future": "Enter"}, "? for shortcuts"
        )
        sid = ok(home.cli("create", *options, cwd=folder)).strip()
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"


def answer_as_person(home: Home, keys: dict[str, str], end: str) -> None:
    """Press keys in the tmux session `person`, each while certain words are shown, until the last words are."""
    screens: list[str] = []

    def is_over() -> bool | None:
        screens.append(ok(home.tmux("capture-pane", "-p", "-t", "=person:")))
        for words, key in keys.items():
            if words in screens[-1]:
                # In its first moment the dialog ignores keys (2.1.332).
                ok(home.tmux("send-keys", "-t", "=person:", key))
        return end in screens[-1] or None

    assert poll(is_over, Deadline(30), 0.5), screens[-1]


def test_codex_asks_for_no_trust(home: Home) -> None:
    """Codex starts in a new folder, with --trust or without it."""
    for options in ([], ["--trust"]):
        sid = create(home, "codex", *options)
        assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
