"""`logs --follow`: what is said, as it is said."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from tests.support.cli import both, create, ok
from tests.support.gateway import running_gateway
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@both
def test_each_message_is_printed_as_it_comes(home: Home, model: ScriptedModel, agent: str) -> None:
    """Every message is printed once, at once and in order, whoever sent it, until the session ends."""
    sid = create(home, agent)
    ok(home.cli("ask", sid, "say one"))
    following = home.popen(sys.executable, "-m", "dev_sessions", "logs", sid, "--follow", "--json")
    assert following.stdout is not None

    def said() -> str:
        assert following.stdout is not None
        return str(json.loads(following.stdout.readline())["text"])

    assert [said(), said()] == ["say one", "one"]
    ok(home.cli("send", sid, "when told say two"))
    assert said() == "when told say two"
    model.allow("told")
    assert said() == "two"
    ok(home.cli("ask", sid, "say three"))
    ok(home.cli("kill", sid))
    rest, errors = following.communicate(timeout=20)
    assert [json.loads(line)["text"] for line in rest.splitlines()] in ([], ["say three"], ["say three", "three"])
    assert (following.returncode, errors.startswith(f"Session not found: {sid}")) == (1, True), errors


def test_a_container_follows_until_ctrl_c(home: Home) -> None:
    """In a container the texts come through the gateway; Ctrl-C ends the command without an error."""
    sid = create(home, "codex")
    with running_gateway(home, "--port", "0") as (_, container):
        following = home.popen(sys.executable, "-m", "dev_sessions", "logs", sid, "-f", env=container.env)
        ok(container.cli("ask", sid, "say one"))
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(6)]
        assert "".join(lines) == "[HUMAN]\nsay one\n\n[ASSISTANT]\none\n\n"
        following.send_signal(signal.SIGINT)
        assert (following.communicate(timeout=10), following.returncode) == (("", ""), 0)


def test_following_ends_with_the_ssh_client(home: Home) -> None:
    """`logs --follow` that was started over ssh ends when the client disconnects, although nothing more is said."""
    sid = create(home, "codex")
    ok(home.cli("ask", sid, "say one"))
    over_ssh = {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}
    following = home.popen(sys.executable, "-m", "dev_sessions", "logs", sid, "--follow", "--json", env=over_ssh)
    assert following.stdout is not None
    assert [json.loads(following.stdout.readline())["text"] for _ in range(2)] == ["say one", "one"]
    following.stdout.close()
    following.wait(10)
