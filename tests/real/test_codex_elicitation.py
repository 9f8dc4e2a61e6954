"""What MCP servers ask through Codex, and requests for more permissions, in threads that another client has allowed to
ask."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dev_sessions.codex import protocol
from dev_sessions.system.deadline import Deadline, poll
from tests.support.cli import assert_refused, create, ok
from tests.support.codex import await_idle, daemon, last_message, session_of
from tests.support.elicitation import add_server_to_codex
from tests.support.home import Home

pytestmark = pytest.mark.forked


def asking(**kinds: bool) -> dict[str, Any]:
    """Return the approval policy that asks only for these kinds of things."""
    never = dict.fromkeys(("mcp_elicitations", "rules", "sandbox_approval", "request_permissions"), False)
    return {"approvalPolicy": {"granular": {**never, **kinds}}}


@pytest.fixture
def sid(shared_home: Home) -> str:
    """Provide a session whose thread another client has allowed to pass on what MCP servers ask."""
    add_server_to_codex(shared_home)
    return create(shared_home, "codex")


def allow_to_ask(home: Home, sid: str, settings: dict[str, Any]) -> None:
    """Change a thread's settings, as another client may."""
    with daemon(home).connect_if_running() as client:
        assert client is not None
        params = {**protocol.turn_start(session_of(home, sid).internal_id, "say ready"), **settings}
        client.call("turn/start", params)
    assert poll(lambda: "ready" in home.cli("last-message", sid).stdout or None, Deadline(30), 0.1)
    # What comes sooner would go into that turn, and have its settings.
    await_idle(home, sid)


def elicit(home: Home, sid: str, form: str) -> str:
    """Have the model call the server's tool, and return what the session asks."""
    done = home.cli("ask", sid, f'call mcp__made__elicit {{"form": "{form}"}}')
    assert (done.returncode, done.stdout) == (3, "waiting_for_input\n")
    return last_message(home, sid)


def answered(home: Home, sid: str) -> str:
    """Return what the server got."""
    assert ok(home.cli("wait", sid)) == "completed\n"
    text = last_message(home, sid)
    return text[text.index("{") :]


def test_what_an_mcp_server_asks(shared_home: Home, sid: str) -> None:
    """Codex itself declines a form in our sessions; if a thread is allowed to ask, it is shown and answered field by
    field, or declined, or cancelled, and a confirmation is accepted or declined."""
    home = shared_home
    ok(home.cli("ask", sid, 'call mcp__made__elicit {"form": "form"}'))
    assert '{"action": "decline"}' in last_message(home, sid)
    allow_to_ask(home, sid, asking(mcp_elicitations=True))
    # In such a thread Codex asks before it calls a tool, too.
    shown = elicit(home, sid, "form")
    assert shown.startswith(
        'Allow the made MCP server to run tool "elicit"? (made)\n1. accept - yes\n2. acceptForSession'
    )
    ok(home.cli("respond", sid, "acceptForSession"))
    assert home.cli("wait", sid).returncode == 3
    shown = last_message(home, sid)
    assert shown.startswith("Who are you? (made)\n\nColour\n1. red\n2. blue\n3. green\n\nCount (optional)\n\nMany")
    assert_refused(home.cli("respond", sid, "Kim"), "asks 5 question(s); give one answer to each: Who are you? (made)")
    assert_refused(home.cli("respond", sid, "pink", "", "", "Kim", ""), "'pink' is none of the options")
    assert_refused(home.cli("respond", sid, "red", "many", "", "Kim", ""), "'many' is not a number, which Count takes")
    ok(home.cli("respond", sid, "2", "4", "x,z", "Kim", "yes"))
    content = '{"colour": "blue", "count": 4, "many": ["x", "z"], "name": "Kim", "sure": true}'
    assert answered(home, sid) == f'{{"action": "accept", "content": {content}}}'
    assert elicit(home, sid, "form") == shown, "the tool is not asked for again"
    ok(home.cli("respond", sid, "red", "", "", "Kim", ""))
    assert answered(home, sid) == '{"action": "accept", "content": {"colour": "red", "name": "Kim"}}'
    for flag, action in (("--deny", "decline"), ("--cancel", "cancel")):
        elicit(home, sid, "form")
        ok(home.cli("respond", sid, flag))
        assert answered(home, sid) == f'{{"action": "{action}"}}'
    assert elicit(home, sid, "confirm").startswith("Really deploy? (made)\n1. accept - yes\n2. decline - no")
    ok(home.cli("respond", sid, "--allow"))
    assert answered(home, sid) == '{"action": "accept", "content": {}}'
    elicit(home, sid, "confirm")
    ok(home.cli("respond", sid, "2"))
    assert answered(home, sid) == '{"action": "decline"}'
    assert ok(home.cli("ask", sid, "run echo not asked for")) == "ran: not asked for\n"


def test_a_request_for_permissions_is_granted_or_denied(home: Home) -> None:
    """What the model asks for is granted for the turn or the session, or denied, and the turn continues."""
    config = home.path / ".codex" / "config.toml"
    wanted = "[features]\nrequest_permissions_tool = true\n"
    config.write_text(config.read_text().replace("[features]\n", wanted))
    sid = create(home, "codex")
    allow_to_ask(home, sid, {**asking(request_permissions=True), "sandboxPolicy": {"type": "readOnly"}})
    asked = 'call request_permissions {"reason": "to fetch", "permissions": {"network": {"enabled": true}}}'
    for answer, granted in (("--allow", "turn"), ("acceptForSession", "session"), ("--deny", "")):
        assert home.cli("ask", sid, asked).returncode == 3
        assert last_message(home, sid).startswith(
            'Codex asks permission for {"network": {"enabled": true}} (to fetch)\n1. accept - yes\n2. acceptForSession'
        )
        ok(home.cli("respond", sid, answer))
        given = json.loads(answered(home, sid))
        assert bool(given["permissions"].get("network")) is bool(granted)
        assert not granted or given["scope"] == granted
