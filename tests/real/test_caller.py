"""A session knows itself and the sessions that it created, and waits for none that waits for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import assert_refused, both, create, ok, outcome, record, records
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.remote import NAME, Remote

pytestmark = pytest.mark.forked


def inside(home: Home, sid: str) -> dict[str, Any]:
    """Return the variables of a command that a session runs."""
    return {"DEV_SESSIONS_ID": sid, "DEV_SESSIONS_CREATED_AT": record(home, sid)["createdAt"]}


@both
def test_a_session_runs_the_loop_on_its_own_children(home: Home, agent: str) -> None:
    """A session prints its id; its children are recorded, listed, waited for and killed as its own, and no other."""
    stranger, parent = create(home, "codex"), create(home, agent)
    for command in (f"wait {parent}", f"ask {parent} hello", f"respond {parent} 1"):
        reply = ok(home.cli("ask", parent, f"run dev-sessions {command}; echo $?"))
        assert f"{parent} is this session itself: {command.split()[0]} would wait for its own turn" in reply
    commands = (
        "dev-sessions whoami",
        "dev-sessions create -q --cli codex --id child",
        "dev-sessions send child 'say done'",
        "dev-sessions wait --mine --any",
        "dev-sessions list --mine",
        "dev-sessions kill --mine",
        "dev-sessions list --mine",
    )
    lines = ok(home.cli("ask", parent, "run " + " && ".join(commands))).removeprefix("ran: ").splitlines()
    assert lines[:4] == [parent, "child", "Sent message to child", "child"]
    assert [line.split()[0] for line in lines[4:]] == ["ID", "child", "Killed", "Killed", "No"]
    assert set(records(home)) == {stranger, parent}


def test_outside_of_a_session_there_is_no_id(home: Home) -> None:
    """A person has no id, and nothing that is its own; an agent that is no session of ours has its own sessions."""
    assert_refused(home.cli("whoami"), "This command does not run in a session")
    for command in ("list", "kill", "wait"):
        assert_refused(home.cli(command, "--mine"), "no agent runs this command")
    agent = {"CLAUDE_CODE_SESSION_ID": "1d0181fc"}
    sid = ok(home.cli("create", "-q", "--cli", "codex", env=agent)).strip()
    other = create(home, "codex")
    assert record(home, sid)["createdBy"] == "claude:1d0181fc"
    rows = json.loads(ok(home.cli("list", "--mine", "--json", env=agent)))
    assert [row["championId"] for row in rows] == [sid]
    watched = ok(home.cli("list", "--watch", "--mine", env=agent)).splitlines()
    assert [line.split()[0] for line in watched] == ["ID", sid]
    assert ok(home.cli("kill", "--mine", env=agent)).startswith(f"Killed session {sid}\n")
    assert set(records(home)) == {other}


def test_an_earlier_session_of_the_same_id_has_other_children(home: Home) -> None:
    """A session does not take the children of an earlier one for its own, which had its id."""
    parent = create(home, "codex", "--id", "parent")
    child = ok(home.cli("create", "-q", "--cli", "codex", env=inside(home, parent))).strip()
    assert record(home, child)["createdBy"] == parent
    ok(home.cli("kill", parent))
    create(home, "codex", "--id", "parent")
    assert ok(home.cli("list", "--mine", env=inside(home, parent))) == "No active sessions\n"


def test_a_child_that_asks_the_parent_which_waits_for_it_is_told(home: Home, model: ScriptedModel) -> None:
    """Neither a child nor its parent waits for the other in vain; a message without waiting arrives."""
    parent, child = create(home, "codex"), create(home, "codex")
    ok(home.cli("send", child, "when allowed say done"))
    ok(home.cli("send", parent, f"run dev-sessions wait {child}"))
    locks = home.path / ".dev-sessions" / "locks"
    assert poll(lambda: (locks / f"{parent}.{child}.wait").exists() or None, Deadline(30), 0.02)
    env = inside(home, child)
    for command in (("ask", parent, "say what?"), ("wait", parent)):
        done = home.cli(*command, env=env)
        assert_refused(done, f"{parent} is waiting for this session, {child}, so neither would go on: end your turn")
    ok(home.cli("send", parent, "say later", env=env))
    model.allow("allowed")
    assert poll(lambda: True if ok(home.cli("status", parent)) == "idle\n" else None, Deadline(30), 0.05)
    assert not list(locks.glob("*.wait"))
    assert outcome(home.cli("ask", parent, "say hello", env=env)) == (0, "hello\n", "")


def test_a_parent_that_waits_in_the_background_can_be_asked(home: Home) -> None:
    """A child may ask a parent whose turn has ended while its wait goes on."""
    parent, child = create(home, "codex"), create(home, "codex")
    ok(home.cli("send", child, "when never say done"))
    waiting = home.popen("dev-sessions", "wait", child, env=inside(home, parent))
    locks = home.path / ".dev-sessions" / "locks"
    assert poll(lambda: (locks / f"{parent}.{child}.wait").exists() or None, Deadline(30), 0.02)
    assert outcome(home.cli("ask", parent, "say hello", env=inside(home, child))) == (0, "hello\n", "")
    waiting.kill()


def test_the_caller_is_known_through_a_gateway(home: Home) -> None:
    """Sessions that a session creates from a container are its own there, too."""
    with running_gateway(home, "--port", "0") as (gateway, container):
        parent = ok(container.cli("create", "-q", "--cli", "codex")).strip()
        env = inside(home, parent)
        assert ok(container.cli("whoami", **env)) == f"{parent}\n"
        child = ok(container.cli("create", "-q", "--cli", "codex", **env)).strip()
        assert record(home, child)["createdBy"] == parent
        rows = json.loads(ok(container.cli("list", "--mine", "--json", **env)))
        assert [row["championId"] for row in rows] == [child]
        ok(container.cli("send", child, "say done", **env))
        assert ok(container.cli("wait", "--mine", "--any", **env)) == f"{child}\n"
        assert ok(container.cli("kill", "--mine", **env)).startswith(f"Killed session {child}\n")
        other = create(home, "codex")
        done = container.cli("kill", "--all", **env)
        assert done.stderr == f"{parent}, in which this command runs, ends last\n"
        assert done.stdout.splitlines()[:2] == [f"Killed session {sid}" for sid in (other, parent)]
        gateway.end()


def test_the_caller_is_known_on_another_machine(home: Home, model: ScriptedModel) -> None:
    """Sessions that a session creates on another machine are its own, and are known there as its own."""
    parent = create(home, "codex")
    env = inside(home, parent)
    with Home(model.port) as far, Remote(home, far):
        far.runner = home.runner
        command = ("create", "-q", "--cli", "codex", "--host", NAME, "--path", str(far.workspace()))
        child = ok(home.cli(*command, env=env)).strip()
        other = ok(home.cli(*command)).strip()
        assert record(far, child)["createdBy"] == parent
        rows = json.loads(ok(home.cli("list", "--mine", "--json", env=env)))
        assert [row["championId"] for row in rows] == [child]
        ok(home.cli("send", child, "say done"))
        assert ok(home.cli("wait", "--mine", env=env)) == "completed\n"
        assert ok(home.cli("kill", "--mine", env=env)).startswith(f"Killed session {child}\n")
        assert set(records(home)) == {parent, other}
        ok(home.cli("kill", other))
