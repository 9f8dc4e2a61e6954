"""Options for the agent, forks, and the names in the agents' own lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.claude import lose
from tests.support.cli import AGENTS, both, create, ok, record, stored_records
from tests.support.codex import crash
from tests.support.gateway import running_gateway
from tests.support.git import repository
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked

ARGS = {
    "claude": ("--effort", "low", "--append-system-prompt", "Be\nbrief."),
    "codex": ("--profile", "deep", "-c", "model_reasoning_effort=low"),
}


def effort(model: ScriptedModel, agent: str) -> str:
    """Return the effort that the agent asked of the model in its last turn."""
    body: dict[str, Any] = [request for request in model.requests if request.is_turn][-1].body
    return str((body["output_config"] if agent == "claude" else body["reasoning"])["effort"])


def said(home: Home, sid: str) -> list[str]:
    """Return the texts of a conversation."""
    return [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json")))]


def profile(home: Home) -> None:
    """Write the profile that ARGS names."""
    (home.path / ".codex" / "deep.config.toml").write_text('model_reasoning_effort = "high"\n')


@both
def test_a_working_session_is_forked_at_its_last_finished_turn(home: Home, model: ScriptedModel, agent: str) -> None:
    """A fork of a working session has its options and its finished turns, can be asked, and leaves it at work."""
    profile(home)
    sid = create(home, agent, "--description", "fix  the\nlogin", "--", *ARGS[agent])
    early = home.cli("fork", sid)
    assert (early.returncode, early.stdout) == (1, "")
    assert early.stderr.startswith(f"{sid} has no finished turn yet, so there is nothing to fork")
    assert list(stored_records(home)) == [sid]
    assert ok(home.cli("ask", sid, "say one")) == "one\n"
    assert effort(model, agent) == "low"
    ok(home.cli("send", sid, "when told say two"))
    done = home.cli("fork", "-q", sid)
    fork = done.stdout.strip()
    warning = f"Warning: the last turn of {sid} has not finished; {fork} has the conversation before it\n"
    assert (done.returncode, done.stderr) == (0, warning)
    assert said(home, fork) == ["say one", "one"]
    assert ok(home.cli("last-message", fork)) == "one\n"
    assert ok(home.cli("wait", fork)) == "completed\n"
    assert record(home, fork)["description"] == f"fork of {sid}"
    assert record(home, fork)["agentArgs"] == list(ARGS[agent])
    assert ok(home.cli("ask", fork, "say three")) == "three\n"
    assert effort(model, agent) == "low"
    assert "say two" not in json.dumps([request.body for request in model.requests if request.is_turn][-1])
    assert ok(home.cli("status", sid)) == "working\n"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert said(home, sid) == ["say one", "one", "when told say two", "two"]
    assert said(home, fork) == ["say one", "one", "say three", "three"]
    # The name of the fork does not keep that of the other one.
    if agent == "claude":
        names = [agent["name"] for agent in json.loads(home.run("claude", "agents", "--json").stdout)]
        assert sorted(names) == sorted([f"{sid}: fix the login", f"{fork}: fork of {sid}"])


def test_a_turn_whose_end_is_written_before_its_prompt_is_forked(home: Home) -> None:
    """A finished turn is in the fork, even if Claude has written its lines out of order."""
    sid = create(home, "claude")
    ok(home.cli("ask", sid, "say before"))
    lose(home, sid, "server")
    transcript = next((home.path / ".claude" / "projects").glob(f"*/{record(home, sid)['internalId']}.jsonl"))
    lines = transcript.read_text().splitlines(keepends=True)
    # As it was seen (2.1.250): the reply and the end mark of a flush come first.
    end = [line for line in lines if json.loads(line)["type"] in ("assistant", "system")]
    others = [line for line in lines if line not in end]
    at = next(number for number, line in enumerate(others) if json.loads(line)["type"] == "user")
    transcript.write_text("".join([*others[:at], *end, *others[at:]]))
    fork = ok(home.cli("fork", "-q", sid)).strip()
    assert said(home, fork) == ["say before", "before"]


@both
def test_a_lost_session_is_forked_and_its_fork_is_recovered(home: Home, agent: str) -> None:
    """A lost session can be forked; a lost fork is recovered with its options and the conversation before it."""
    profile(home)
    sid = create(home, agent, "--", *ARGS[agent])
    ok(home.cli("ask", sid, "say one"))
    end(home, agent, sid)
    fork = ok(home.cli("fork", "-q", sid, "--description", "second try")).strip()
    assert record(home, fork)["description"] == "second try"
    end(home, agent, fork)
    ok(home.cli("recover", fork, "--yes"))
    assert ok(home.cli("ask", fork, "say two")) == "two\n"
    assert said(home, fork) == ["say one", "one", "say two", "two"]
    assert said(home, sid) == ["say one", "one"]


def end(home: Home, agent: str, sid: str) -> None:
    """End what runs an agent's sessions, and wait until that is gone."""
    if agent == "claude":
        lose(home, sid, "server")
    else:
        crash(home)


def test_a_fork_has_a_worktree_of_its_own(home: Home) -> None:
    """With --worktree the fork works on a branch that starts at the other session's commit."""
    folder = repository(home)
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--worktree", "--path", str(folder))).strip()
    tree = record(home, sid)["worktree"]
    ok(home.cli("ask", sid, "run git commit --quiet --allow-empty -m theirs"))
    done = home.cli("fork", "-q", sid, "--worktree=other")
    fork = done.stdout.strip()
    assert (done.returncode, done.stderr) == (0, "")
    other = record(home, fork)
    assert (other["worktreeBranch"], other["path"] != tree) == ("other", True)
    heads = [home.run("git", "-C", where, "rev-parse", "HEAD").stdout for where in (tree, other["worktree"])]
    assert heads[0] == heads[1]


def test_a_fork_is_made_where_the_session_is(home: Home, model: ScriptedModel) -> None:
    """A session of another machine is forked there, also from a container, with its options; its goal stays with it."""
    with Home(model.port) as far, Remote(home, far), running_gateway(home, "--port", "0") as (_, container):
        profile(far)
        options = ("--cli", "codex", "--host", NAME, "--path", str(far.workspace()), "--", *ARGS["codex"])
        sid = ok(container.cli("create", "-q", *options)).strip()
        ok(container.cli("ask", sid, "say one"))
        ok(container.cli("send", sid, "when told say two"))
        made = container.cli("fork", sid, "--description", "by ssh")
        (fork,) = set(stored_records(home)) - {sid}
        assert made.stdout == f"Created session {fork} on {NAME}\n"
        assert made.stderr.startswith(f"Warning: the last turn of {sid} has not finished; {fork} has")
        assert stored_records(far)[fork]["agentArgs"] == stored_records(home)[fork]["agentArgs"] == list(ARGS["codex"])
        assert ok(home.cli("ask", fork, "say three")) == "three\n"
        assert effort(model, "codex") == "low"
        assert said(home, fork) == ["say one", "one", "say three", "three"]
        refused = container.cli("create", "--", "--resume")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "The option --resume of claude cannot be given" in refused.stderr


def test_codex_lists_sessions_under_their_names(home: Home) -> None:
    """From the first message on, Codex's own list has the session's id and description."""
    sid = create(home, AGENTS[1], "--description", "fix the login")
    ok(home.cli("ask", sid, "say one"))
    index = (home.path / ".codex" / "session_index.jsonl").read_text()
    assert [json.loads(line)["thread_name"] for line in index.splitlines()] == [f"{sid}: fix the login"]
