"""Test the rig itself: the script language on literals, the model over real HTTP, a home and its processes."""

from __future__ import annotations

import ast
import http.client
import json
import os
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support import messages_api, responses_api
from tests.support.agents import AgentMissing, agent_bin, pinned, program_bin
from tests.support.cli import outcome
from tests.support.forks import ForkServer
from tests.support.home import MARK, Home
from tests.support.model import ScriptedModel
from tests.support.script import (
    Ask,
    Failure,
    FinishGoal,
    Gated,
    Goal,
    Item,
    Plan,
    Question,
    Reply,
    Result,
    Shell,
    Silence,
    Step,
    Subagent,
    User,
    next_step,
)

PASTED = '\n\n<pasted_content id="84f9">\nsay one\ntwo\n\n\nthree\n</pasted_content id="84f9">\n'
IN_MID_TURN = (
    "The user sent a new message while you were working:\nsay now\n\nThis is how Claude Code surfaces messages."
)


@pytest.mark.parametrize(
    ("script", "step"),
    [
        ("say hello", Reply("hello")),
        ("SAY -n one\n\n  two\n", Reply("-n one\n\n  two\n")),
        ("after 1.5 say late", Reply("late", delay=1.5)),
        ("after 2 run date", Reply(calls=(Shell("date"),), delay=2)),
        ("when ready say late", Gated("ready", Reply("late"))),
        ("when ready fail 400", Gated("ready", Failure(400))),
        ("drip 2 say slowly", Reply("slowly", drip=2)),
        ("run echo 'a;;b'; date", Reply(calls=(Shell("echo 'a;;b'; date"),))),
        ("runs echo a ;; echo b", Reply(calls=(Shell("echo a"), Shell("echo b")))),
        ("say-then-run look: ;; ls -l", Reply("look:", calls=(Shell("ls -l"),))),
        ("background sleep 9", Reply(calls=(Shell("sleep 9", background=True),))),
        ("ask Which one? | Yes | No", Reply(calls=(Ask((Question("Which one?", ("Yes", "No")),)),))),
        (
            "ask A? | 1 | 2 ;; [any] B? | 3",
            Reply(calls=(Ask((Question("A?", ("1", "2")), Question("B?", ("3",), multiple=True))),)),
        ),
        ("subagent say x", Reply(calls=(Subagent("say x"),))),
        ("plan do it", Reply(calls=(Plan("do it"),))),
        ("fail 529", Failure(529)),
        ("size 13", Reply("0123456789END")),
        ("hang", Silence()),
        ("Reply with exactly: A b.", Reply("A b.")),
        ("Please reply with just OK", Reply("OK")),
        ("Remember the number 42, please.", Reply("OK")),
        ("Which number did I ask you to remember? Reply with just the number.", Reply("I was not told a number")),
        ("after noon say x", Reply("echo: after noon say x")),
        ("How are you?", Reply("echo: How are you?")),
        (PASTED, Reply("one\ntwo\n\n\nthree")),
        (IN_MID_TURN, Reply("now")),
    ],
)
def test_script_language(script: str, step: Step) -> None:
    """The last message of the user says what the model does."""
    assert next_step([User("say before"), User(script)]) == step


@pytest.mark.parametrize(
    ("script", "results", "step"),
    [
        ("run date", ["noon"], Reply("ran: noon")),
        ("after 2 run date", ["noon"], Reply("ran: noon")),
        ("when ready run date", ["noon"], Reply("ran: noon")),
        ("runs echo a ;; echo b", ["b", "a"], Reply("ran: a | b")),
        ("say-then-run look: ;; date", ["noon"], Reply("done: noon")),
        ("ask Which? | Yes | No", ["Yes"], Reply("answered: Yes")),
        ("background sleep 9", ["id 1"], Reply("started")),
    ],
)
def test_script_goes_on_with_results(script: str, results: list[str], step: Step) -> None:
    """A turn goes on when its tools have answered, in the order of the calls, whichever ended first."""
    ids = range(len(results), 0, -1)
    given = [Result(text, f"call_{number}") for text, number in zip(results, ids, strict=True)]
    assert next_step([User("run ls"), Result("old", "call_0"), User(script), *given]) == step


def test_script_sees_earlier_messages() -> None:
    """The model recalls only what the conversation of the same request contains."""
    earlier: list[Item] = [User("Remember the number 7"), User("Remember the number 8."), User(IN_MID_TURN)]
    assert next_step([*earlier, User("Which number did I ask you to remember?")]) == Reply("8")
    assert next_step([*earlier, User("history")]) == Reply(
        "1: Remember the number 7\n2: Remember the number 8.\n3: say now"
    )
    resumed: list[Item] = [User("say before\n"), User("Continue from where you left off."), User("history")]
    assert next_step(resumed) == Reply("1: say before")


def test_script_of_a_goal() -> None:
    """A goal takes as many turns as its objective says, then the model declares it complete."""
    goal, result = Goal("work 2 turns"), Result("ok", "call_1")
    assert next_step([goal]) == Reply("goal turn 1")
    assert next_step([goal, goal]) == Reply(calls=(FinishGoal(),))
    assert next_step([goal, goal, result]) == Reply("goal complete")
    assert next_step([goal, goal, result, User("say on")]) == Reply("on")
    held = Goal("when ready work 2 turns")
    assert next_step([held]) == Gated("ready", Reply("goal turn 1"))
    assert next_step([held, held]) == Gated("ready", Reply(calls=(FinishGoal(),)))
    assert next_step([held, held, result]) == Reply("goal complete")
    assert next_step([User("say on"), Goal("anything")]) == Reply(calls=(FinishGoal(),))


def test_script_of_a_goal_that_does_not_go_well() -> None:
    """A turn of a goal may play any other script, or give up."""
    goal = Goal("work 2 turns, then run ls")
    assert next_step([goal]) == Reply("goal turn 1")
    assert next_step([goal, goal]) == Reply(calls=(Shell("ls"),))
    assert next_step([goal, goal, Result("a", "call_1")]) == Reply("ran: a")
    assert next_step([goal, goal, Result("a", "call_1"), goal]) == Reply(calls=(FinishGoal(),))
    assert next_step([Goal("work 1 turn, then give up")]) == Reply(calls=(FinishGoal("blocked"),))
    assert next_step([Goal("after 0.5 work 1 turn, then fail 400")]) == Failure(400)


def test_agents_own_words_are_not_the_users() -> None:
    """Reminders and context that an agent sends in the user's role are no messages of the user."""
    reminder = {"type": "text", "text": "<system-reminder>\nsay no\n</system-reminder>\n"}
    content = [reminder, {"type": "text", "text": "say yes"}]
    claude = {"messages": [{"role": "user", "content": content}, {"role": "system", "content": "say no"}]}
    assert messages_api.conversation(claude) == [User("say yes")]
    context = _said_to_codex("<environment_context>say no</environment_context>")
    assert responses_api.conversation({"input": [_said_to_codex("say yes"), context]}) == [User("say yes")]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ('The user answered: "Which?"="No, both". Read the answers carefully', "No, both"),
        ('User has answered your questions: "Which?"="Yes". You can now continue', "Yes"),
        ("hi", "hi"),
    ],
)
def test_claude_results(result: str, text: str) -> None:
    """The answer to a question is taken out of the sentence that Claude makes of it."""
    content = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}]
    assert messages_api.conversation({"messages": [{"role": "user", "content": content}]}) == [Result(text, "toolu_1")]


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("Chunk ID: 5f\nProcess exited with code 0\nOutput:\nhi\n", "hi"),
        ('{"output": "hi\\n", "metadata": {"exit_code": 0}}', "hi"),
        ('{"answers": {"q1": {"answers": ["Yes"]}}}', "Yes"),
        ("request_user_input is unavailable in Default mode", "request_user_input is unavailable in Default mode"),
    ],
)
def test_codex_results(result: str, text: str) -> None:
    """A tool's output is taken out of the report that Codex makes of it."""
    item = {"type": "function_call_output", "call_id": "call_1", "output": result}
    assert responses_api.conversation({"input": [item]}) == [Result(text, "call_1")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_model_answers_over_http(model: ScriptedModel, path: str, stream: bool) -> None:
    """Both APIs answer, streamed and whole, and the request is kept."""
    status, text = _post(model, path, "say grüße 🙂", stream=stream)
    assert status == 200
    assert json.dumps("grüße 🙂") in text
    assert ("event: " in text) == stream
    assert model.last_text() == "say grüße 🙂"
    assert model.requests[-1].path == path


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses"])
def test_model_fails_on_request(model: ScriptedModel, path: str) -> None:
    """A scripted failure has the status asked for and a body in the API's own form."""
    status, text = _post(model, path, "fail 429", stream=True)
    assert status == 429
    assert json.loads(text)["error"]["message"] == "scripted failure 429"


def test_model_drips(model: ScriptedModel) -> None:
    """A dripped reply takes its time and comes in pieces."""
    began = time.monotonic()
    _, text = _post(model, "/v1/messages", "drip 0.3 say a reply in several pieces", stream=True)
    assert 0.25 < time.monotonic() - began < 2
    assert text.count("text_delta") > 10


def test_model_holds_a_reply_back(model: ScriptedModel) -> None:
    """A gated reply comes when the test allows it and not before; one that was allowed before comes at once."""
    before = len(model.requests)
    held = _begin(model, "when ready say hello")
    assert poll(lambda: len(model.requests) > before or None, Deadline(10))
    assert select.select([held.sock], [], [], 0.2)[0] == []
    model.allow("ready")
    assert "hello" in held.getresponse().read().decode()
    held.close()
    assert "again" in _post(model, "/v1/messages", "when ready say again", stream=True)[1]
    model.hold()


def test_model_lets_go_what_the_test_before_has_held(model: ScriptedModel) -> None:
    """What is held when a test ends comes before the next one, whose replies are held anew."""
    before = len(model.requests)
    left = _begin(model, "when never say left")
    assert poll(lambda: len(model.requests) > before or None, Deadline(10))
    # Its thread begins to wait a moment after the request is counted.
    assert select.select([left.sock], [], [], 0.2)[0] == []
    model.hold()
    assert "left" in left.getresponse().read().decode()
    left.close()
    held = _begin(model, "when never say held")
    assert select.select([held.sock], [], [], 0.2)[0] == []
    held.close()


def test_model_requests_beside_the_conversation(model: ScriptedModel) -> None:
    """A request without tools is no turn: it gets a title, whatever the script says."""
    before = len(model.turns())
    status, text = _post(model, "/v1/messages", "fail 500", stream=False, tools=False)
    assert (status, json.loads(text)["content"][0]["text"]) == (200, "Scripted title")
    assert len(model.turns()) == before
    assert _request(model, "GET", "/v1/models")[0] == 200
    assert _request(model, "HEAD", "/")[0] == 200
    assert json.loads(_request(model, "POST", "/v1/messages/count_tokens", {"messages": []})[1])["input_tokens"] > 0


def test_model_closes_in_the_middle_of_replies(capfd: pytest.CaptureFixture[str]) -> None:
    """Closing ends replies that hang or are slow, at once and without a word."""
    with ScriptedModel() as model:
        waiting = [_begin(model, "hang"), _begin(model, "after 60 say x"), _begin(model, "drip 60 say x")]
        waiting.append(_begin(model, "when never say x"))
        assert poll(lambda: len(model.requests) == 4 or None, Deadline(5))
        began = time.monotonic()
    assert time.monotonic() - began < 1
    for connection in waiting:
        with pytest.raises((http.client.HTTPException, OSError)):  # noqa: PT012 - where it shows depends on the reply
            connection.getresponse().read()
            raise http.client.IncompleteRead(b"")
        connection.close()
    assert capfd.readouterr().err == ""


def test_home_leaks_nothing_in(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of an agent that runs the tests, and of its tmux, do not reach a home."""
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("CLAUDE_CODE_CHILD_SESSION", "1")
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    with Home(model.port) as home:
        printed = home.run("env").stdout
    assert not {"CLAUDECODE", "CLAUDE_CODE_CHILD_SESSION", "TMUX"} & {
        line.partition("=")[0] for line in printed.split("\n")
    }


def test_home_login_shell_finds_the_agents(home: Home) -> None:
    """A login shell finds the pinned agents and dev-sessions, whatever the system's profile does to PATH."""
    found = home.run("bash", "-lc", "command -v claude codex dev-sessions").stdout.splitlines()
    codex = program_bin("codex", pinned()["codex"])
    assert [Path(program).parent for program in found[:2]] == [agent_bin("claude"), codex]
    assert codex != agent_bin("codex"), "the program itself is found, not its launcher"
    assert len(found) == 3


def test_home_ends_what_was_started_in_it(model: ScriptedModel) -> None:
    """Closing a home ends its tmux server and everything detached, deaf to SIGTERM too, and removes the directory."""
    with Home(model.port) as home:
        home.tmux("new-session", "-d", "sleep 300")
        deaf = home.popen("bash", "-c", "trap '' TERM; setsid sleep 300 & while :; do wait; done")
        assert poll(lambda: len(home.leftovers()) >= 4 or None, Deadline(5)), home.leftovers()
    home.close()
    assert home.leftovers() == {}
    assert deaf.returncode is not None
    assert not home.path.exists()


def test_home_has_room_for_sockets(home: Home) -> None:
    """The path of a home leaves room for a socket's, which may have 103 bytes on macOS."""
    assert len(os.fsencode(home.path)) <= 55
    assert home.path == home.path.resolve()
    assert home.env[MARK] == str(home.path)


def test_a_forked_command_is_like_one_of_its_own(home: Home, fork_server: ForkServer) -> None:
    """A forked command has the same exit code, output, errors, folder and environment as a separate one, and is ended
    if it hangs."""
    (home.path / "other").mkdir()
    for command in (["list"], ["status", "fizz-top"], ["create", "--path", "missing"], ["nothing"], ["send", "--help"]):
        for cwd, env in ((None, None), (home.path / "other", {"NO_COLOR": "1", "COLUMNS": "60"})):
            home.runner = None
            plain = home.cli(*command, cwd=cwd, env=env)
            home.runner = fork_server
            assert outcome(home.cli(*command, cwd=cwd, env=env)) == outcome(plain), command
    with pytest.raises(subprocess.TimeoutExpired):
        home.cli("gateway", "--port", "0", timeout=1)
    assert home.leftovers() == {}


def test_missing_agent_names_what_installs_it() -> None:
    """A version that is not installed is an error that says what to run."""
    with pytest.raises(AgentMissing, match="tests/run"):
        agent_bin("claude", "0.0.0")


def test_bootstrap_without_installing_changes_nothing(tmp_path: Path) -> None:
    """With --no-install a missing program is one clear line and a failure."""
    script = Path(__file__).parents[1] / "support" / "bootstrap.sh"
    done = subprocess.run(
        ["/bin/sh", "-c", '. "$1"; bootstrap --no-install', "sh", str(script)],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "tmux is missing" in done.stderr
    assert list(tmp_path.iterdir()) == []


FILES = sorted(Path(__file__).parents[1].rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_tests_share_no_code_and_patch_nothing_private(file: Path) -> None:
    """No test file is imported, so each can be changed alone; and none depends on a private name of the program."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {module for module in imported if re.match(r"tests\.(?!support\b|benchmarks\b)", module)} == set()
    # ruff's SLF001 finds private names that are not strings.
    words = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [word for word in words if re.fullmatch(r"dev_sessions(\.\w+)*\._\w+", word)] == []
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    patches = [node for node in calls if node.func.attr in ("setattr", "delattr", "object")]  # type: ignore[attr-defined]
    names = [arg.value for node in patches for arg in node.args[1:2] if isinstance(arg, ast.Constant)]
    assert [name for name in names if re.match(r"_[^_]", str(name))] == []


def _said_to_codex(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def _body(path: str, text: str, *, stream: bool, tools: bool) -> dict[str, Any]:
    offered = [{"name": "Bash"}] if tools else []
    if path == "/v1/messages":
        said: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    else:
        said = {"input": [_said_to_codex(text)]}
    return {"model": "fake", "stream": stream, "tools": offered, **said}


def _post(model: ScriptedModel, path: str, text: str, *, stream: bool, tools: bool = True) -> tuple[int, str]:
    return _request(model, "POST", path, _body(path, text, stream=stream, tools=tools))


def _request(model: ScriptedModel, method: str, path: str, body: object = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=10)
    try:
        connection.request(method, path, body=None if body is None else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _begin(model: ScriptedModel, text: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", model.port, timeout=10)
    path = "/v1/responses"
    connection.request("POST", path, body=json.dumps(_body(path, text, stream=True, tools=True)))
    return connection
