"""The main job, with both real agents: create, send, wait, last-message."""

from __future__ import annotations

import json
import signal
import tempfile

import pytest

from tests.support.cli import AGENTS, await_waiting, both, create, needs_proc, ok, records
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: For what several sessions can only get wrong if they share a server, as those of Codex do.
codex_shows = pytest.mark.parametrize("agent", [pytest.param("claude", marks=pytest.mark.matrix), "codex"])


@pytest.fixture
def sid(shared_home: Home, agent: str) -> str:
    """Provide a session of an agent, which the tests of this file share."""
    sid = f"shared-{agent}"
    return sid if sid in records(shared_home) else create(shared_home, agent, "--id", sid)


@both
def test_the_main_job(home: Home, agent: str) -> None:
    """A session is created, gets a message, ends its turn, and its reply is read."""
    done = home.cli("create", "--cli", agent, "--description", "a first try", cwd=home.workspace())
    sid = ok(done).removeprefix("Created session ").strip()
    assert ok(home.cli("status", sid)) == "idle\n"
    assert home.cli("wait", sid).stdout == "completed\n"
    assert ok(home.cli("last-message", sid)) == ""
    assert ok(home.cli("last-message", sid, "--json")) == "[]\n"
    assert ok(home.cli("logs", sid)) == "No conversation history available\n"
    assert ok(home.cli("send", sid, "say hello")) == f"Sent message to {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "hello\n"
    assert ok(home.cli("ask", sid, "history")) == "1: say hello\n"
    assert ok(home.cli("logs", sid)) == (
        "[HUMAN]\nsay hello\n\n[ASSISTANT]\nhello\n\n[HUMAN]\nhistory\n\n[ASSISTANT]\n1: say hello\n"
    )
    record = records(home)[sid]
    assert record["state"] == "idle"
    assert record["status"] == "active"
    assert record["description"] == "a first try"
    assert record["path"] == str(home.workspace())
    table = ok(home.cli("list")).splitlines()
    assert table[0].split() == ["ID", "CLI", "MODE", "HOST", "STATUS", "PATH", "DESCRIPTION", "LAST", "USED"]
    assert table[1].startswith(f"{sid}  {agent}")
    assert json.loads(ok(home.cli("inspect", sid)))["internalId"] == record["internalId"]
    assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert ok(home.cli("list")) == "No active sessions\n"
    assert home.cli("status", sid).stderr == f"Session not found: {sid} (see: dev-sessions list)\n"
    assert home.leftovers() == {}, "nothing is left running"


@both
def test_status_follows_the_turn(shared_home: Home, model: ScriptedModel, sid: str) -> None:
    """A session is working from the moment when send returns until its turn has ended, never idle in between."""
    home = shared_home
    ok(home.cli("send", sid, "when told say done"))
    for _ in range(5):
        assert ok(home.cli("status", sid)) == "working\n"
    assert home.cli("wait", sid, "--timeout", "0.2").returncode == 124
    model.allow("told")
    while (state := ok(home.cli("status", sid))) == "working\n":
        pass
    assert state == "idle\n"
    assert ok(home.cli("last-message", sid)) == "done\n", "what was said is readable as soon as the session is idle"
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_home_of_any_name(model: ScriptedModel) -> None:
    """Both agents work for a user whose home has quotes, a dollar sign, a backslash or a line break in its path."""
    model.forget()
    with tempfile.TemporaryDirectory() as sockets, Home(model.port, prefix="q'\"$HOME`\\x\n") as home:
        home.env["TMUX_TMPDIR"] = sockets  # it is not in the home, and tmux escapes a backslash in its path
        for agent in AGENTS:
            sid = create(home, agent)
            assert ok(home.cli("ask", sid, "say hello")) == "hello\n"
            assert ok(home.cli("last-message", sid)) == "hello\n"
            assert ok(home.cli("kill", sid)) == f"Killed session {sid}\n"
    assert home.leftovers() == {}


@both
def test_a_wait_that_runs_out_says_so_and_can_be_repeated(shared_home: Home, model: ScriptedModel, sid: str) -> None:
    """A timeout changes nothing: the same wait can be run again."""
    home = shared_home
    ok(home.cli("send", sid, "when told say done"))
    done = home.cli("wait", sid, "--timeout", "0.3", "--interval", "0.1")
    assert (done.returncode, done.stdout, done.stderr) == (124, "", f"Timed out waiting for {sid}\n")
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    done = home.cli("ask", sid, "hang", "--timeout", "0.3")
    assert (done.returncode, done.stdout, done.stderr) == (124, "", f"Timed out waiting for {sid}\n")
    assert home.cli("interrupt", sid).stdout == f"Interrupted {sid}\n"


@both
def test_tools_run_in_the_workspace(shared_home: Home, sid: str) -> None:
    """An agent uses its tools, several at once too, and the turn ends after all of them."""
    home = shared_home
    assert "workspace" in ok(home.cli("ask", sid, "run pwd"))
    reply = ok(home.cli("ask", sid, "runs echo one ;; sleep 0.5; echo two"))
    assert "one" in reply
    assert "two" in reply
    assert "three" in ok(home.cli("ask", sid, "say-then-run first words ;; echo three"))
    blocks = json.loads(ok(home.cli("last-message", sid, "-n", "2", "--json")))
    assert blocks[0] == "first words"
    assert "three" in blocks[1]
    assert ok(home.cli("last-message", sid, "-n", "2")).startswith("first words\n\n")


@both
def test_replies_are_kept_to_the_letter(shared_home: Home, sid: str) -> None:
    """Paragraphs, leading dashes, quotes, other alphabets and emoji of a reply are returned unchanged."""
    home = shared_home
    text = (
        '- first\n- second\n\n    indented `code` "quoted" $(not run)\n\n'
        "\u05e9\u05dc\u05d5\u05dd caf\u0065\u0301 \U0001f469\u200d\U0001f4bb"
    )
    (home.path / "message").write_text(f"say {text}", encoding="utf-8")
    assert ok(home.cli("ask", sid, "--file", home.path / "message")) == f"{text}\n"
    assert json.loads(ok(home.cli("last-message", sid, "--json"))) == [text]


@both
def test_a_message_comes_from_arguments_a_file_or_standard_input(shared_home: Home, sid: str) -> None:
    """A message that starts with a dash arrives after -- and from standard input."""
    home = shared_home
    assert ok(home.cli("ask", sid, "--", "- item")) == "echo: - item\n"
    assert ok(home.cli("ask", sid, "--file", "-", stdin="--help me")) == "echo: --help me\n"


@both
def test_a_failed_turn_is_an_error_every_time(shared_home: Home, sid: str) -> None:
    """A turn that failed is reported with the agent's own words, again by a second wait; the session goes on."""
    home = shared_home
    done = home.cli("ask", sid, "fail 400")
    assert (done.returncode, done.stdout) == (1, "")
    assert "scripted failure 400" in done.stderr
    again = home.cli("wait", sid)
    assert (again.returncode, again.stderr) == (1, done.stderr)
    assert ok(home.cli("ask", sid, "say fine")) == "fine\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "lastTurnError" not in json.loads(ok(home.cli("inspect", sid)))


@codex_shows
def test_two_sessions_at_once_do_not_mix(home: Home, agent: str) -> None:
    """Two sessions work at the same time, and each has its own answer."""
    left, right = create(home, agent), create(home, agent)
    assert left != right
    ok(home.cli("send", left, "after 1 say left"))
    ok(home.cli("send", right, "say right"))
    assert ok(home.cli("wait", right)) == "completed\n"
    assert ok(home.cli("last-message", right)) == "right\n"
    assert ok(home.cli("wait", left)) == "completed\n"
    assert ok(home.cli("last-message", left)) == "left\n"
    assert set(records(home)) == {left, right}
    done = ok(home.cli("kill", "--all"))
    assert sorted(done.splitlines()) == sorted(
        [f"Killed session {left}", f"Killed session {right}", "Killed 2 sessions"]
    )
    assert home.leftovers() == {}


@both
def test_round_trips_give_the_right_reply_each(shared_home: Home, sid: str) -> None:
    """Every one of many asks in a row gets its own reply; in the soak, of a thousand."""
    home = shared_home
    for number in range(5):
        assert ok(home.cli("ask", sid, f"say answer {number}")) == f"answer {number}\n"


@codex_shows
def test_parallel_creates_get_different_names(home: Home, agent: str) -> None:
    """Creates at the same moment never get the same name, and share one app-server."""
    count = 3 if agent == "claude" else 5
    home.workspace()
    running = [home.popen("dev-sessions", "create", "-q", "--cli", agent, cwd=home.workspace()) for _ in range(count)]
    names = [child.communicate(timeout=60) for child in running]
    assert [error for _, error in names] == [""] * count
    assert len({name for name, _ in names}) == count
    assert len(records(home)) == count
    assert len(ok(home.cli("kill", "--all")).splitlines()) == count + 1
    assert home.leftovers() == {}


@both
def test_an_id_in_use_is_refused(shared_home: Home, sid: str, agent: str) -> None:
    """An id that is in use is refused."""
    home = shared_home
    done = home.cli("create", "--cli", agent, "--id", sid, cwd=home.workspace())
    assert (done.returncode, done.stderr) == (1, f"Champion ID already in use: {sid}\n")
    assert ok(home.cli("ask", sid, "say still here")) == "still here\n"


@pytest.mark.parametrize("agent", [pytest.param("claude", marks=pytest.mark.soak), "codex"])
def test_old_sessions_are_ended_by_age(home: Home, agent: str) -> None:
    """`kill --older-than` ends only sessions that were not used for that long."""
    old, new = create(home, agent), create(home, agent)
    store = home.path / ".dev-sessions" / "sessions.json"
    document = json.loads(store.read_text())
    for record in document["sessions"]:
        if record["championId"] == old:
            record["lastUsed"] = "2026-01-01T00:00:00.000Z"
    store.write_text(json.dumps(document))
    assert ok(home.cli("kill", "--older-than", "7d")) == f"Killed session {old}\nKilled 1 sessions\n"
    assert set(records(home)) == {new}
    assert ok(home.cli("kill", "--older-than", "7d")) == "No matching sessions to kill\n"


@needs_proc
@both
def test_ctrl_c_ends_a_wait_and_nothing_else(shared_home: Home, model: ScriptedModel, sid: str) -> None:
    """Ctrl-C in a wait exits 130; the turn goes on."""
    home = shared_home
    ok(home.cli("send", sid, "when told say done"))
    wait = home.popen("dev-sessions", "wait", sid)
    await_waiting(wait)
    wait.send_signal(signal.SIGINT)
    output, error = wait.communicate(timeout=30)
    assert (output, error.strip()) == ("", "")
    assert wait.returncode == 130
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "done\n"


@both
def test_the_model_is_sent_only_when_named(shared_home: Home, model: ScriptedModel, sid: str, agent: str) -> None:
    """No model is chosen for the user, and the one that is named is used."""
    home, plain = shared_home, sid
    named = create(home, agent, "--model", "my-model")
    ok(home.cli("ask", plain, "say a"))
    ok(home.cli("ask", named, "say b"))
    used = {turn.user_text: turn.body["model"] for turn in model.turns()}
    assert (used["say a"] != "my-model", used["say b"]) == (True, "my-model")
    assert "model" not in records(home)[plain]
    ok(home.cli("kill", named))


def test_a_conversation_survives_paths_with_spaces_and_signs(shared_home: Home) -> None:
    """A workspace may have any name, with spaces, quotes and other characters."""
    home = shared_home
    workspace = home.workspace("a b/#{pane_id};x $(touch hacked) 'q' \u00e9\U0001f600;")
    for agent in AGENTS:
        sid = ok(home.cli("create", "-q", "--cli", agent, "--path", workspace, cwd=home.path)).strip()
        assert str(workspace) in ok(home.cli("ask", sid, "run pwd"))
        assert records(home)[sid]["path"] == str(workspace)
        ok(home.cli("kill", sid))


def test_a_relative_path_is_the_callers(shared_home: Home) -> None:
    """--path may be relative to the current directory."""
    home = shared_home
    home.workspace("project/inner")
    sid = ok(home.cli("create", "-q", "--cli", "codex", "--path", "inner", cwd=home.path / "project")).strip()
    assert records(home)[sid]["path"] == str(home.path / "project" / "inner")
