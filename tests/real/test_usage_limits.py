"""A usage limit of Claude Code's plan, after which it continues by itself."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dev_sessions.models import parse_timestamp
from dev_sessions.system.deadline import Deadline, poll
from dev_sessions.system.version import parse_version
from tests.support.agents import pinned
from tests.support.cli import ok, records
from tests.support.home import Home

pytestmark = [
    pytest.mark.forked,
    pytest.mark.skipif(parse_version(pinned()["claude"]) <= (2, 1, 300), reason="it does not continue by itself"),
]

#: So that Claude has the limits of a plan.
PLAN = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-made-up"}


def reports(home: Home, sid: str) -> list[dict[str, Any]]:
    """Return what `wait`, `status` and `list` say of a session in JSON."""
    (waited,) = json.loads(home.cli("wait", sid, "--json").stdout)
    return [waited, json.loads(ok(home.cli("status", sid, "--json"))), records(home)[sid]]


def test_a_limit_that_ends_by_itself_is_told_and_can_be_cancelled(home: Home) -> None:
    """After a usage limit a wait fails at once, and says from when on Claude continues by itself, as the status does,
    with --json or not; a wait through limits goes on; interrupt cancels the continuation, as does another message."""
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=PLAN)).strip()
    failed = home.cli("ask", sid, "fail limit 3600")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f": dev-sessions wait {sid} --through-limits" in failed.stderr
    for found in reports(home, sid):
        assert (found["reason"], found["continuesAt"]) == ("usage_limit", found["resetsAt"])
        assert f"it continues by itself after {found['continuesAt']}" in failed.stderr
        assert 3500 < parse_timestamp(found["continuesAt"]) - time.time() < 3700
    status = home.cli("status", sid)
    assert (status.returncode, status.stdout) == (0, "idle\n")
    assert status.stderr.startswith(
        f"Warning: {sid} waits for the end of a usage limit, and continues by itself after "
    )
    assert home.cli("wait", sid, "--through-limits", "-t", "1").returncode == 124
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    for found in reports(home, sid):
        assert found["reason"] == "usage_limit"
        assert "continuesAt" not in found
    assert home.cli("status", sid).stderr == ""
    assert home.cli("wait", sid, "--through-limits").returncode == 1
    again = home.cli("interrupt", sid)
    assert (again.returncode, again.stderr) == (1, f"{sid} is idle; there is nothing to interrupt\n")
    assert home.cli("ask", sid, "fail limit 7200").returncode == 1
    assert "continuesAt" in json.loads(ok(home.cli("status", sid, "--json")))
    assert ok(home.cli("ask", sid, "say fine")) == "fine\n"
    assert all("reason" not in found for found in reports(home, sid))


def test_a_limit_that_ends_in_days_opens_a_dialog(home: Home) -> None:
    """After a limit that Claude does not wait for, it shows a dialog; the status names the reason beside it."""
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=PLAN)).strip()
    failed = home.cli("ask", sid, "fail limit 90000", "--through-limits")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "; try again after " in failed.stderr

    def dialog() -> dict[str, Any] | None:
        found: dict[str, Any] = json.loads(ok(home.cli("status", sid, "--json")))
        return found if found["state"] == "waiting_for_input" else None

    found = poll(dialog, Deadline(30), 0.2)
    assert found is not None
    assert (found["reason"], "continuesAt" in found) == ("usage_limit", False)
    assert parse_timestamp(found["resetsAt"]) > time.time() + 89_000


@pytest.mark.soak
def test_work_is_continued_after_the_limit(home: Home) -> None:
    """A message whose turn a usage limit has ended is answered by the work that Claude continues by itself, for an ask
    through limits, a wait that begins when that runs, and last-message."""
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=PLAN)).strip()
    done = home.cli("ask", sid, "fail limit 1", "--through-limits", "-t", "300", timeout=310)
    assert ok(done).startswith("echo: Your claude.ai usage limit has reset.")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == done.stdout
    said = json.loads(ok(home.cli("logs", sid, "--json")))
    assert [turn.get("cause") for turn in said] == [None, None, "continued by itself", None]
