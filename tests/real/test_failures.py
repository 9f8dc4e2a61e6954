"""Why a turn failed: in the same words for both agents, wherever it is reported."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from dev_sessions.models import parse_timestamp
from tests.support.cli import both, ok, records
from tests.support.codex import crash
from tests.support.home import Home

pytestmark = pytest.mark.forked

FAILURES = {
    "fail 401": ("auth", "log in"),
    "fail limit 3600": ("usage_limit", " after "),
    "fail 529": ("overloaded", "send it again"),
    "fail context": ("context", "start a new session"),
}
#: So that Claude has the limits of a plan, and repeats a request only once.
PLAN = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-made-up", "CLAUDE_CODE_MAX_RETRIES": "1"}
#: So that Codex repeats no request. These are the last lines of its configuration, about the model's provider.
NO_RETRIES = "request_max_retries = 0\nstream_max_retries = 0\n"


@both
def test_a_failed_turn_says_why_and_what_to_do(home: Home, agent: str) -> None:
    """A wait, the status and the list give the reason in the same words, and the end of a usage limit; the error says
    what to do. A turn that ends well has no reason."""
    with open(home.path / ".codex" / "config.toml", "a") as config:
        config.write(NO_RETRIES)
    sid = ok(home.cli("create", "-q", "--cli", agent, cwd=home.workspace(), env=PLAN)).strip()
    for script, (reason, advice) in FAILURES.items():
        failed = home.cli("ask", sid, script)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert failed.stderr.startswith(f"The turn of {sid} failed: {reason}: ")
        assert advice in failed.stderr
        assert f": dev-sessions send {sid}" in failed.stderr or reason in ("context", "usage_limit")
        for found in reports(home, sid):
            assert found["reason"] == reason
            assert ("resetsAt" in found) == (reason == "usage_limit")
            if reason == "usage_limit":
                assert found["resetsAt"] in failed.stderr
                assert 3500 < parse_timestamp(found["resetsAt"]) - time.time() < 3700
    assert ok(home.cli("ask", sid, "say fine")) == "fine\n"
    assert all("reason" not in found for found in reports(home, sid))


def test_a_turn_without_the_providers_key(home: Home) -> None:
    """A turn of Codex for whose provider no key is set fails for its login, and names the variable."""
    sid = ok(home.cli("create", "-q", "--cli", "codex", cwd=home.workspace())).strip()
    with open(home.path / ".codex" / "config.toml", "a") as config:
        config.write('env_key = "MADE_UP_KEY"\n')
    crash(home)
    failed = home.cli("ask", sid, "say hello")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith(
        f"The turn of {sid} failed: auth: Missing environment variable: `MADE_UP_KEY`; log in: codex login (or correct"
    )
    assert all(found["reason"] == "auth" for found in reports(home, sid))


def reports(home: Home, sid: str) -> list[dict[str, Any]]:
    """Return what `wait`, `status` and `list` say of a session in JSON."""
    (waited,) = json.loads(home.cli("wait", sid, "--json").stdout)
    return [waited, json.loads(ok(home.cli("status", sid, "--json"))), records(home)[sid]]
