"""The end of a turn of Claude Code: reported neither early nor late, with its outcome."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.agents import agent_bin
from tests.support.claude import (
    DIES,
    LONG_TOOL,
    MARKS,
    VERSION,
    add_settings,
    assert_interrupted,
    end_what_is_left,
    fake_claude,
    in_a_tool,
    press,
    screen,
    sent_state,
    switch_to,
    transcript,
    type_draft,
)
from tests.support.cli import await_waiting, create, ok, record, records, state_of
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(home: Home) -> str:
    """Provide a session of Claude."""
    return create(home, "claude")


@pytest.fixture
def shared_sid(shared_home: Home) -> str:
    """Provide the session of Claude in the home that tests share, in the mode in which it asks for no permission."""
    sid = next((sid for sid in records(shared_home) if sid != UNTITLED), "") or create(shared_home, "claude")
    end_what_is_left(shared_home, sid)
    switch_to(shared_home, sid, "bypass permissions")
    return sid


UNTITLED = "untitled"


@pytest.fixture
def untitled(shared_home: Home) -> str:
    """Provide a session in that home which leaves the terminal's title alone, and retries three times."""
    if UNTITLED not in records(shared_home):
        env = {"CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1", "CLAUDE_CODE_MAX_RETRIES": "3"}
        ok(shared_home.cli("create", "-q", "--id", UNTITLED, cwd=shared_home.workspace(), env=env))
    return UNTITLED


only_new = pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version runs a skill within the turn")

#: Puts off the end of a message of the model behind the call in it, which Claude leaves unwritten for so long.
TRAIL = "trail 0.3 "


def settings(home: Home, **more: Any) -> None:
    """Add to Claude's settings."""
    path = home.path / ".claude" / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_a_turn_of_tools_and_texts_ends_once(shared_home: Home, shared_sid: str) -> None:
    """Tools, texts between them and pauses do not end a turn."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "say-then-run words in between ;; sleep 1; echo out"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "done: out\n"


def test_a_terminal_without_a_title_is_followed(shared_home: Home, model: ScriptedModel, untitled: str) -> None:
    """A turn is waited for even if the user has told Claude to leave the terminal's title alone."""
    home, sid = shared_home, untitled
    ok(home.cli("send", sid, "when told say done"))
    assert ok(home.cli("status", sid)) == "working\n"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "done\n"
    assert ok(home.cli("status", sid)) == "idle\n"


def test_a_wait_after_the_end_of_the_turn_returns(shared_home: Home, shared_sid: str) -> None:
    """A wait that begins after the end of the turn returns at once."""
    home, sid = shared_home, shared_sid
    for text in ("say before", "say quick"):
        before = ends(home, sid)
        ok(home.cli("send", sid, text))
        assert poll(partial(has_ended, home, sid, before), Deadline(30), 0.05)
    # Much later than at once, and sooner than a wait gives up on a Claude that writes nothing.
    assert ok(home.cli("wait", sid, "--timeout", "8")) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "quick\n"


def test_a_wait_covers_messages_queued_later(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A wait ends when the last message and everything queued after it has had its turn."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "when told say first"))
    wait = home.popen("dev-sessions", "wait", sid)
    if sys.platform == "linux":
        await_waiting(wait)
    assert sent_state(home, sid, "after 1 say second") == "queued"
    assert sent_state(home, sid, "after 1 say third") == "queued"
    model.allow("told")
    assert wait.communicate(timeout=20)[0] == "completed\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert ok(home.cli("last-message", sid)) == "third\n"


def test_an_ask_gets_its_own_reply_whatever_is_queued(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """Each of several concurrent asks prints the reply to its own message, or says that the reply is to several."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "when told say slow"))
    asks = [home.popen("dev-sessions", "ask", sid, f"say mine {number}") for number in range(2)]
    for number in range(2):
        assert poll(lambda text=f"mine {number}": text in transcript(home, sid) or None, Deadline(30), 0.05)  # type: ignore[misc] # bound early
    model.allow("told")
    replies = [child.communicate(timeout=30) for child in asks]
    # 2.1.332 puts what was queued at the same time into one turn: then the reply to the last is the reply to both.
    if any(error for _, error in replies):
        warning = f"Warning: {sid} read 2 messages before it replied; "
        assert all(error.startswith(warning) for _, error in replies)
        assert len({reply for reply, _ in replies} & {"mine 0\n", "mine 1\n"}) == 1
    else:
        assert [reply for reply, _ in replies] == ["mine 0\n", "mine 1\n"]


def test_escape_in_mid_tool_is_an_interruption(shared_home: Home, shared_sid: str) -> None:
    """A turn that a person stopped during a tool call is reported as interrupted; the session goes on."""
    home, sid = shared_home, shared_sid
    in_a_tool(home, sid)
    press(home, sid, "Escape")
    assert_interrupted(home, sid)
    assert home.cli("ask", sid, "say on").stdout == "on\n"


def test_escape_before_the_reply_is_an_interruption(shared_home: Home, shared_sid: str) -> None:
    """A turn that was stopped before the first reply leaves no trace in the transcript, and is reported all the
    same."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "after 30 say never"))
    press(home, sid, "Escape")
    assert_interrupted(home, sid)
    assert ok(home.cli("status", sid)) == "idle\n"
    done = home.cli("ask", sid, "say on")
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "discarded, and its model never got it: 'after 30 say never'" in done.stderr


@pytest.mark.parametrize(
    "script",
    [
        *(LONG_TOOL, "drip 30 say a b c d e f g h i j k l m n o p"),
        *(pytest.param(script, marks=pytest.mark.soak) for script in ("after 30 say never", "fail 529")),
    ],
)
def test_interrupt_stops_a_turn(shared_home: Home, shared_sid: str, script: str) -> None:
    """`interrupt` returns when the turn has ended; a second one finds nothing to interrupt."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, script))
    assert home.cli("interrupt", sid).stdout == f"Interrupted {sid}\n"
    assert ok(home.cli("status", sid)) == "idle\n"
    assert_interrupted(home, sid)
    assert json.loads(ok(home.cli("status", sid, "--json")))["reason"] == "interrupted"
    done = home.cli("interrupt", sid)
    assert (done.returncode, done.stderr) == (1, f"{sid} is idle; there is nothing to interrupt\n")
    assert ok(home.cli("ask", sid, "say on")) == "on\n"


#: Characters of which a terminal draws only a part.
DRAWN_IN_PART = {
    "skin tone": "\U0001f44d\U0001f3fd",
    "family": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "many marks": "q" + 30 * "\u0301",
}


@pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version and tmux count the columns of an emoji differently")
@pytest.mark.parametrize(
    "emoji",
    [
        pytest.param(" ".join(DRAWN_IN_PART.values()), id="all"),
        *(pytest.param(text, id=name, marks=pytest.mark.matrix) for name, text in DRAWN_IN_PART.items()),
    ],
)
def test_interrupt_gives_back_what_a_terminal_draws_in_part(shared_home: Home, shared_sid: str, emoji: str) -> None:
    """A message, and a command, with a character of which a terminal draws only a part is taken for what was sent."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, f"after 30 say {emoji} x"))
    interrupted = home.cli("interrupt", sid)
    assert interrupted.stderr == f"Not delivered to {sid}: after 30 say {emoji} x\n"
    assert sent_state(home, sid, f"/rename {emoji} x") == "command"
    assert ok(home.cli("ask", sid, f"say {emoji} y")) == f"{emoji} y\n"


@pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version takes up queued messages one at a time")
def test_interrupt_gives_back_what_was_not_delivered(shared_home: Home, shared_sid: str) -> None:
    """Queued messages that an interrupted Claude takes back are named by `interrupt`, are not in the input box any
    more, end their wait as not delivered, and are not in the log."""
    home, sid = shared_home, shared_sid
    in_a_tool(home, sid)
    queued = ["after 60 say left", "\n".join(["after 60 say", *(f"line {number}" for number in range(12))])]
    for message in queued:
        assert sent_state(home, sid, message) == "queued"
    undelivered = json.loads(ok(home.cli("interrupt", sid, "--json")))["undelivered"]
    assert undelivered == queued
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"The turn of {sid} was interrupted: the message was not delivered, " in done.stderr
    said = [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json")))]
    assert not set(undelivered) & set(said)
    done = home.cli("ask", sid, "history")
    assert (done.returncode, done.stderr) == (0, "")
    assert "line 7" not in done.stdout
    ok(home.cli("send", sid, "after 60 say alone"))
    done = home.cli("interrupt", sid)
    assert (done.returncode, done.stdout) == (0, f"Interrupted {sid}\n")
    assert done.stderr == f"Not delivered to {sid}: after 60 say alone\n"
    told = home.cli("last-message", sid).stderr
    assert f"the last turn of {sid} was interrupted without a text; this one is of an earlier turn" in told


@pytest.mark.skipif(VERSION < (2, 1, 300), reason="this version may write a message whose hook is interrupted")
def test_interrupt_gives_back_what_a_hook_held_up(home: Home, model: ScriptedModel) -> None:
    """A message whose hook is interrupted is named by `interrupt`, its send fails, and it is in neither the input box
    nor the log."""
    begun = home.path / "begun"
    command = f"if grep -q dog; then touch {begun}; sleep 60; fi"
    add_settings(home, hooks={"UserPromptSubmit": [{"hooks": [{"type": "command", "command": command}]}]})
    sid = create(home, "claude")
    for text in ("say dog", "say dog\nand\nmore\nlines"):
        send = home.popen("dev-sessions", "send", sid, text)
        assert poll(lambda: begun.exists() or None, Deadline(30), 0.05)
        begun.unlink()
        assert poll(lambda: ok(home.cli("status", sid)) == "working\n" or None, Deadline(30), 0.05)
        done = home.cli("interrupt", sid, "--json")
        assert done.returncode == 0, done.stderr
        (undelivered,) = json.loads(done.stdout)["undelivered"]
        assert undelivered.split() == text.split()
        assert "dog" not in screen(home, sid).rpartition("❯")[2]
        output, error = send.communicate(timeout=60)
        assert (send.returncode, output) == (1, "")
        assert "it is not in the transcript" in error or "it is in the input box" in error
        waited = home.cli("wait", sid)
        assert (waited.returncode, waited.stdout) == (1, "")
        assert "was interrupted: the message was not delivered, because a hook still held it up; " in waited.stderr
    assert ok(home.cli("ask", sid, "say on")) == "on\n"
    assert [turn.user_text for turn in model.turns()] == ["say on"]
    assert "dog" not in ok(home.cli("logs", sid))


@pytest.mark.skipif(VERSION < (2, 1, 300), reason="this version may write a message whose hook is interrupted")
@pytest.mark.parametrize("draft", ["my own words", "\n".join(f"pasted line {number}" for number in range(9))])
def test_interrupt_leaves_a_draft_above_what_a_hook_held_up(home: Home, draft: str) -> None:
    """A person's draft or paste stays in the input box when a long message whose hook is interrupted is put below it,
    and `interrupt` names the message alone."""
    begun = home.path / "begun"
    add_settings(
        home,
        hooks={"UserPromptSubmit": [{"hooks": [{"type": "command", "command": f"touch {begun}; exec sleep 60"}]}]},
    )
    sid = create(home, "claude")
    message = "say that the person's words are still there"
    send = home.popen("dev-sessions", "send", sid, message)
    assert poll(lambda: begun.exists() or None, Deadline(30), 0.05)
    ok(home.tmux("load-buffer", "-b", "draft", "-", stdin=draft))
    ok(home.tmux("paste-buffer", "-p", "-d", "-b", "draft", "-t", f"=dev-{sid}:"))
    shown = "[Pasted text #1 +8 lines]" if "\n" in draft else draft
    assert poll(lambda: shown in screen(home, sid) or None, Deadline(30), 0.05)
    assert poll(lambda: ok(home.cli("status", sid)) == "working\n" or None, Deadline(30), 0.05)
    done = home.cli("interrupt", sid)
    assert (done.returncode, done.stderr) == (0, f"Not delivered to {sid}: {message}\n")
    box = screen(home, sid).rpartition("❯")[2]
    assert shown in box
    assert message in box
    assert send.wait(60) == 1


@pytest.mark.soak
def test_a_question_that_claude_closed_by_itself_is_not_answered(home: Home) -> None:
    """If Claude goes on after a question's time, the turn ends, and a late answer is an error that types nothing."""
    add_settings(home, askUserQuestionTimeout="60s")
    sid = create(home, "claude")
    assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    assert poll(lambda: state_of(home, sid)["state"] == "idle" or None, Deadline(90), 0.5)
    done = home.cli("respond", sid, "blue")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing was typed: 'Which colour?' is no longer asked by {sid}: " in done.stderr
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)).startswith("answered: No response after 60s")
    assert ok(home.cli("ask", sid, "history")) == "1: ask Which colour? | red | blue\n"


def test_retries_are_not_the_end(shared_home: Home, model: ScriptedModel, untitled: str) -> None:
    """While Claude retries after errors of the service the turn goes on; it ends with the service's error message."""
    home, sid = shared_home, untitled
    ok(home.cli("send", sid, "fail 529"))
    assert ok(home.cli("status", sid)) == "working\n"
    done = home.cli("wait", sid)
    assert done.returncode == 1
    assert "529" in done.stderr
    assert sum(request.user_text == "fail 529" for request in model.turns()) >= 3


def test_a_missing_login_is_reported_in_the_programs_words(home: Home) -> None:
    """Without a login the turn fails with Claude's own message."""
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env={"ANTHROPIC_API_KEY": ""})).strip()
    done = home.cli("ask", sid, "say hi")
    assert done.returncode == 1
    assert "login" in done.stderr


def test_compaction_in_mid_turn_is_not_the_end(shared_home: Home, shared_sid: str) -> None:
    """A /compact that was sent is waited for, and the conversation goes on after it."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say before"))
    # Before 2.1.328 the program may write the command down as if it were a message, before it runs it.
    assert sent_state(home, sid, "/compact") in (["command"] if MARKS else ["command", "submitted"])
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "say after")) == "after\n"
    assert "being continued from a previous conversation" not in ok(home.cli("logs", sid))


def test_a_stop_hook_that_blocks_prolongs_the_turn(home: Home) -> None:
    """A Stop hook that sends Claude back to work does not end the turn."""
    mark = home.path / "blocked"
    command = f"test -e {mark} || {{ touch {mark}; sleep 0.5; echo 'say more' >&2; exit 2; }}"
    settings(home, hooks={"Stop": [{"hooks": [{"type": "command", "command": command}]}]})
    sid = create(home, "claude")
    ok(home.cli("send", sid, "say first"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert mark.exists()
    assert len(json.loads(ok(home.cli("last-message", sid, "-n", "5", "--json")))) == 2


def test_a_hook_that_stops_the_turn_is_its_reason(home: Home) -> None:
    """A turn that a hook stops fails with the hook's words, when its other calls have ended, and the next is run."""
    events = ("UserPromptSubmit", "PreToolUse", "PostToolUse")
    answer = json.dumps({"continue": False, "stopReason": "not now"})
    hooks = {}
    for event in events:
        matches = f"if grep -q '\"hook_event_name\":\"{event}\".*halt-{event}'; then echo '{answer}'; fi"
        hooks[event] = [{"hooks": [{"type": "command", "command": matches}]}]
    add_settings(home, hooks=hooks)
    sid = create(home, "claude")

    def reason() -> object:
        return json.loads(ok(home.cli("status", sid, "--json"))).get("reason")

    for event in events:
        done = home.cli("ask", sid, f"runs echo halt-{event} ;; sleep 1")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"The turn of {sid} failed: hook: not now (a {event} hook stopped the turn); ")
        assert poll(lambda: reason() == "hook" or None, Deadline(30))
        assert json.loads(home.cli("wait", sid, "--json").stdout)[0]["reason"] == "hook"
        assert ok(home.cli("ask", sid, "say next")) == "next\n"


@only_new
def test_a_skill_with_a_subagent_belongs_to_the_turn(home: Home, model: ScriptedModel) -> None:
    """The turn of a skill that runs in a subagent ends when that has reported, whether it is given as a command, by
    another name of it, or called by the model."""
    for name, gate in (("aside", "told"), ("beside", "asked")):
        skill = home.path / ".claude" / "skills" / name / "SKILL.md"
        skill.parent.mkdir(parents=True)
        skill.write_text(f"---\nname: {name}\ndescription: x\ncontext: fork\n---\nwhen {gate} say it\n")
    sid = create(home, "claude")
    assert sent_state(home, sid, "/aside now") == "command"
    assert home.cli("wait", sid, "--timeout", "3").returncode == 124
    assert ok(home.cli("status", sid)) == "working\n"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "background work done\n"
    for message in ("/aside", "/review"):
        assert ok(home.cli("ask", sid, message)) == "background work done\n", message
    # A report that arrives before the answer to the call's result would be part of that request.
    ok(home.cli("send", sid, 'tool Skill {"skill": "beside"}'))
    assert poll(lambda: ok(home.cli("last-message", sid)).startswith("used: Skill") or None, Deadline(30), 0.1)
    assert home.cli("wait", sid, "--timeout", "1").returncode == 124
    model.allow("asked")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "background work done\n"


def test_a_subagent_belongs_to_the_turn(shared_home: Home, shared_sid: str) -> None:
    """A turn that started a subagent ends when the subagent has reported and Claude has answered to that."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "subagent after 2 say found it"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "background work done\n"
    assert ok(home.cli("ask", sid, "subagent say found it")) == "background work done\n"


def test_a_subagent_may_start_another(shared_home: Home, shared_sid: str) -> None:
    """A turn ends when its subagent has reported, also if that has waited for a subagent of its own."""
    home, sid = shared_home, shared_sid
    assert ok(home.cli("ask", sid, "subagent subagent after 1 say found it")) == "background work done\n"
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_subagent_may_be_resumed(shared_home: Home, shared_sid: str) -> None:
    """A turn that gives a subagent of an earlier turn more to do ends when that has reported again."""
    home, sid = shared_home, shared_sid
    assert ok(home.cli("ask", sid, "subagent say found it")) == "background work done\n"
    results = (json.loads(line).get("toolUseResult") for line in transcript(home, sid).splitlines())
    agent = [result["agentId"] for result in results if isinstance(result, dict) and "agentId" in result][-1]
    call = ["SendMessage", {"to": agent, "message": "say more", "summary": "one more thing"}]
    assert ok(home.cli("ask", sid, f"tools {json.dumps([call])}")) == "background work done\n"


def test_a_person_may_stop_the_subagents(home: Home, sid: str) -> None:
    """A turn ends if a person stops its subagents; it is completed, as Claude has answered before."""
    ok(home.cli("send", sid, "subagent when late say found it"))
    assert poll(lambda: "Waiting for 1 background agent" in screen(home, sid) or None, Deadline(30), 0.1)
    press(home, sid, "C-x", "C-k")
    assert poll(lambda: "again to stop" in screen(home, sid) or None, Deadline(30), 0.1)
    press(home, sid, "C-x", "C-k")
    assert ok(home.cli("wait", sid, "-t", "60")) == "completed\n"
    assert home.cli("last-message", sid).stdout == "started\n"


def test_a_background_command_does_not_hold_up_a_wait(shared_home: Home, shared_sid: str) -> None:
    """A dev server in the background does not make a wait hang; status --json reports that it runs."""
    home, sid = shared_home, shared_sid
    over = home.workspace() / "over"
    ok(home.cli("send", sid, f"background until test -e {over}; do sleep 0.05; done"))
    assert ok(home.cli("wait", sid, "--timeout", "30")) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "started\n"
    background = {"state": "idle", "background": True}
    assert poll(lambda: state_of(home, sid) == background or None, Deadline(30), 0.1)
    assert ok(home.cli("ask", sid, "say meanwhile")) == "meanwhile\n"
    over.touch()
    assert poll(lambda: "background work done" in ok(home.cli("last-message", sid)) or None, Deadline(30), 0.1)
    assert poll(lambda: state_of(home, sid) == {"state": "idle"} or None, Deadline(30), 0.1)


def test_a_turn_that_a_background_command_wakes_is_its_own(shared_home: Home, shared_sid: str) -> None:
    """Claude's reaction to the end of a background command is a turn of its own, not the reply to the message."""
    home, sid = shared_home, shared_sid
    go = home.workspace() / "go"
    assert ok(home.cli("ask", sid, f"background until test -e {go}; do sleep 0.05; done")) == "started\n"
    go.touch()
    assert poll(lambda: "background work done" in ok(home.cli("last-message", sid)) or None, Deadline(30), 0.1)
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_a_person_typing_in_the_session_does_not_confuse_a_wait(
    shared_home: Home, model: ScriptedModel, shared_sid: str
) -> None:
    """If a person types after the turn has ended, the wait is about the sent message; both are in the logs."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say ours"))
    type_draft(home, sid, "when told say theirs")
    press(home, sid, "Enter")
    assert poll(lambda: "when told say theirs" in transcript(home, sid) or None, Deadline(30), 0.05)
    assert ok(home.cli("wait", sid, "--timeout", "8")) == "completed\n"
    # Claude reports that it works a moment after the message is in the transcript.
    assert poll(lambda: ok(home.cli("status", sid)) == "working\n" or None, Deadline(30), 0.05)
    assert sent_state(home, sid, "say behind") == "queued"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert json.loads(ok(home.cli("last-message", sid, "-n", "2", "--json"))) == ["theirs", "behind"]


def test_status_is_never_idle_before_the_end(shared_home: Home, shared_sid: str) -> None:
    """From the moment when send returns until the turn has ended, status never reports idle."""
    home, sid = shared_home, shared_sid
    for number in range(3):
        ok(home.cli("send", sid, f"after 0.4 say {number}"))
        seen: list[str] = []
        while not seen or seen[-1] != "idle\n":
            seen.append(ok(home.cli("status", sid)))
        assert ok(home.cli("last-message", sid)) == f"{number}\n"


def test_a_wait_returns_when_the_mark_is_on_disk(shared_home: Home, shared_sid: str) -> None:
    """A wait ends as soon as the program's own mark can be read."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say ready"))
    (written,) = (home.path / ".claude" / "projects").rglob(f"{record(home, sid)['internalId']}.jsonl")

    def is_marked(before: int) -> bool | None:
        return written.read_bytes().count(b"turn_duration") > before or None

    lags, commands = [], []
    for number in range(3):
        before = ends(home, sid)
        ok(home.cli("send", sid, f"after 1 say {number}"))
        wait = home.popen("dev-sessions", "wait", sid)
        assert poll(partial(is_marked, before), Deadline(30), 0.005)
        seen = time.monotonic()
        assert wait.communicate(timeout=30)[0] == "completed\n"
        ended = time.monotonic()
        lags.append(ended - seen)
        assert home.popen("dev-sessions", "status", sid).communicate(timeout=30)[0] == "idle\n"
        commands.append(time.monotonic() - ended)
    # A busy machine, on which a command takes long, delays the end of the wait as well.
    assert sorted(lags)[1] < max(0.5, 3 * sorted(commands)[1]), (lags, commands)


def ends(home: Home, sid: str) -> int:
    """Return how many turns have their mark of the end."""
    return transcript(home, sid).count("turn_duration")


def has_ended(home: Home, sid: str, before: int) -> bool | None:
    """Return whether one more turn has ended."""
    return ends(home, sid) > before or None


def test_a_question_is_shown_with_its_options(shared_home: Home, shared_sid: str) -> None:
    """A session with a question is waiting_for_input: wait and ask exit 3, and last-message ends with the question."""
    home, sid = shared_home, shared_sid
    done = home.cli("ask", sid, "ask Which colour? | red | blue")
    assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (3, "waiting_for_input\n")
    assert state_of(home, sid)["waitingFor"] in (["input needed"] if MARKS else ["input needed", "permission prompt"])
    shown = ok(home.cli("last-message", sid))
    assert shown == "Which colour?\n1. red - The option red\n2. blue - The option blue\n"
    ok(home.cli("interrupt", sid))


def test_a_question_hidden_by_the_full_conversation_is_reported(shared_home: Home, shared_sid: str) -> None:
    """A question is reported even if a person has opened the full conversation over it, and does not end the turn."""
    home, sid = shared_home, shared_sid
    assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    assert poll(lambda: "Enter to select" in screen(home, sid) or None, Deadline(30), 0.05)
    press(home, sid, "C-o")
    assert poll(lambda: "Enter to select" not in screen(home, sid) or None, Deadline(30), 0.05)
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (3, "waiting_for_input\n")
    assert ok(home.cli("status", sid)) == "waiting_for_input\n"
    press(home, sid, "C-o")
    assert poll(lambda: "Enter to select" in screen(home, sid) or None, Deadline(30), 0.05)
    ok(home.cli("respond", sid, "red"))
    assert ok(home.cli("wait", sid)) == "completed\n"


ANSWERS = {"2": "blue", "red": "red", "Blue": "blue", "neither of them": "neither of them", "3 or 4": "3 or 4"}


@pytest.mark.parametrize(
    ("answer", "written"),
    [
        *(("2", True), ("Blue", False), ("3 or 4", True)),
        pytest.param("neither of them", False, marks=pytest.mark.matrix),
        *(
            pytest.param(answer, written, marks=pytest.mark.soak)
            for answer, written in (
                *(("2", False), ("red", True), ("red", False)),
                *(("Blue", True), ("neither of them", True), ("3 or 4", False)),
            )
        ),
    ],
)
def test_respond_answers_a_question(shared_home: Home, shared_sid: str, answer: str, *, written: bool) -> None:
    """A question is answered by an option's number, its label, or free text, even before Claude has written it."""
    home, sid = shared_home, shared_sid
    assert home.cli("ask", sid, ("" if written else TRAIL) + "ask Which colour? | red | blue").returncode == 3
    assert ok(home.cli("last-message", sid)).startswith("Which colour?\n1. red - The option red\n2. blue - ")
    assert ok(home.cli("respond", sid, answer)) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == f"answered: {ANSWERS[answer]}\n"


def test_an_answer_presses_no_keys(shared_home: Home, shared_sid: str) -> None:
    """A free-text answer cannot end its own paste and press keys."""
    home, sid = shared_home, shared_sid
    assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    ok(home.cli("respond", sid, "neither\x1b[201~\x1b"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: neither[201~\n"


#: Questions, the answers to them, and what Claude passes on.
QUESTIONS = [
    ("[any] Which? | x | y | z", ["1,3"], ["x, z"]),
    ("[any] Which? | x | y | z", ["x, z"], ["x, z"]),
    ("[any] Which? | x | y | z", ["none of these"], ["none of these"]),
    ("[any] Which? | x | y | z", ["only x, please"], ['"only x, please"']),
    ('[any] Which? | a, b | say "c"', ["a, b"], ['"a, b"']),
    ("First? | a | b ;; Second? | a | b", ["2", "1"], ["b", "a"]),
    ("First? | a | b ;; [any] Second? | c | d ;; Third? | e | f", ["my own", "1,2", "f"], ["my own", "c, d", "f"]),
]


@pytest.mark.parametrize(
    ("number", "written"),
    [
        *((1, False), (3, False), (4, True), (6, True)),
        *(
            pytest.param(number, written, marks=pytest.mark.matrix)
            for number, written in ((0, True), (2, True), (5, False))
        ),
        *(pytest.param(number, number % 2 == 1, marks=pytest.mark.soak) for number in range(len(QUESTIONS))),
    ],
)
def test_several_questions_and_choices(shared_home: Home, shared_sid: str, number: int, *, written: bool) -> None:
    """Several questions take an answer each, and a question with checkboxes takes several, even before Claude writes
    them."""
    home, sid = shared_home, shared_sid
    questions, answers, given = QUESTIONS[number]
    before = lines(home, sid)
    assert home.cli("ask", sid, ("" if written else TRAIL) + f"ask {questions}").returncode == 3
    ok(home.cli("respond", sid, *answers))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert answers_given(home, sid, before) == given


def lines(home: Home, sid: str) -> int:
    """Return the number of lines in the transcript, which a session has from its first message on."""
    return len(transcript(home, sid).splitlines()) if ok(home.cli("logs", sid, "--json")) != "[]\n" else 0


def answers_given(home: Home, sid: str, before: int) -> list[str]:
    """Return the answers to the questions of the one call that is in the transcript behind its first lines."""
    results = [json.loads(line).get("toolUseResult") for line in transcript(home, sid).splitlines()[before:]]
    (answered,) = [result["answers"] for result in results if isinstance(result, dict) and "answers" in result]
    return list(answered.values())


def test_questions_on_the_screen_alone_are_answered_one_by_one(shared_home: Home, shared_sid: str) -> None:
    """Of several questions that Claude has not written yet, the visible one is reported and answered, then the next
    one."""
    home, sid = shared_home, shared_sid
    before = lines(home, sid)
    assert home.cli("ask", sid, "trail 1 ask First? | a | b ;; [any] Second? | c | d ;; Third? | e | f").returncode == 3
    more = "(another question, which is shown when the one before it is answered)"
    first = f"First?\n1. a - The option a\n2. b - The option b\n\n{more}\n\n{more}\n"
    assert ok(home.cli("last-message", sid)) == first
    done = home.cli("send", sid, "a text")
    assert done.returncode == 1
    assert f"nothing was typed: {sid} asks 3 questions; answer each" in done.stderr
    done = home.cli("respond", sid, "1", "9")
    assert done.returncode == 1
    assert "There is no option 9: 'Second?' has 2 (1 of 2 answers were given before)" in done.stderr
    assert home.cli("wait", sid).returncode == 3
    assert ok(home.cli("last-message", sid)).startswith("Second? (several may be chosen)\n1. c - ")
    ok(home.cli("respond", sid, "2"))
    done = home.cli("respond", sid, "1", "2")
    assert done.returncode == 1
    assert "asks 1 question(s); give one answer to each: Third?" in done.stderr
    ok(home.cli("respond", sid, "f"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert answers_given(home, sid, before) == ["a", "d", "f"]


def test_a_message_answers_a_question_on_the_screen_alone(shared_home: Home, shared_sid: str) -> None:
    """A message answers a question even before Claude has written it."""
    home, sid = shared_home, shared_sid
    assert home.cli("ask", sid, f"{TRAIL}ask Which colour? | red | blue").returncode == 3
    assert sent_state(home, sid, "neither of them") == "answered"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: neither of them\n"


def ask_until_written(home: Home, sid: str, script: str) -> None:
    """Ask until the question is in the transcript; a busy machine may leave it out."""
    before = _asked(home, sid)
    for number in range(before + 1, before + 10):
        assert home.cli("ask", sid, f"trail 0 {script}").returncode == 3
        if poll(partial(_has_asked, home, sid, number), Deadline(2)):
            return
        ok(home.cli("interrupt", sid))
    pytest.fail("never written")


def _has_asked(home: Home, sid: str, times: int) -> bool | None:
    return _asked(home, sid) >= times or None


def _asked(home: Home, sid: str) -> int:
    # Requests to the model are written, too, and they repeat the conversation.
    entries = [json.loads(line) for line in transcript(home, sid).splitlines()] if lines(home, sid) else []
    return sum(entry["type"] == "assistant" and '"AskUserQuestion"' in json.dumps(entry) for entry in entries)


def test_respond_refuses_answers_that_do_not_fit(shared_home: Home, shared_sid: str) -> None:
    """An answer without a question, to too few questions, or with a wrong number is refused before any key is
    pressed."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say ready"))  # the session is shared, and may have asked in its last turn
    done = home.cli("respond", sid, "1")
    why = f"{sid} asks nothing; to say something: dev-sessions send {sid}"
    assert (done.returncode, done.stderr) == (1, f"The answer for {sid} was not sent, nothing was typed: {why}\n")
    ask_until_written(home, sid, "ask One? | a | b ;; Two? | c | d")
    for arguments, words in (
        (["1"], "asks 2 question(s); give one answer to each"),
        (["1", "7"], "There is no option 7: 'Two?' has 2"),
        (["--allow"], "asks a question, not for a permission"),
    ):
        done = home.cli("respond", sid, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    done = home.cli("send", sid, "a text")
    assert done.returncode == 1
    assert f"nothing was typed: {sid} asks 2 questions; answer each" in done.stderr
    ok(home.cli("respond", sid, "1", "2"))
    assert ok(home.cli("wait", sid)) == "completed\n"


def test_an_escaped_question_is_an_interruption(shared_home: Home, shared_sid: str) -> None:
    """A question that is dismissed ends the turn as interrupted."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "/clear"))
    assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
    assert ok(home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    assert_interrupted(home, sid)
    assert home.cli("last-message", sid).stdout == ""


def ask_for_permission(home: Home, sid: str, lead: str = "") -> None:
    """Bring a session into the mode in which it asks, and to a tool that needs permission."""
    switch_to(home, sid, "manual mode")
    ok(home.cli("send", sid, f"{lead}run touch made; echo done"))
    assert home.cli("wait", sid).returncode == 3


@pytest.mark.parametrize(
    ("lead", "options"),
    [
        pytest.param("", ("--deny", "--allow", "1"), id="written"),
        pytest.param(TRAIL, ("--deny", "1"), id="on-the-screen-alone"),
        pytest.param(TRAIL, ("--allow",), id="on-the-screen-alone, allowed", marks=pytest.mark.matrix),
    ],
)
def test_a_permission_is_decided(shared_home: Home, shared_sid: str, lead: str, options: tuple[str, ...]) -> None:
    """A request for permission is reported, refused as a message, and decided by --allow, --deny or an option."""
    home, sid = shared_home, shared_sid
    made = home.workspace() / "made"
    for option in options:
        is_made = option != "--deny"
        made.unlink(missing_ok=True)
        ask_for_permission(home, sid, lead)
        assert state_of(home, sid) == {"state": "waiting_for_input", "waitingFor": "permission prompt"}
        assert "touch made" in ok(home.cli("last-message", sid))
        done = home.cli("send", sid, "yes")
        assert done.returncode == 1
        assert f"dev-sessions respond {sid} --allow or --deny" in done.stderr
        assert ok(home.cli("respond", sid, option)) == f"Answered {sid}\n"
        assert home.cli("wait", sid).returncode == (0 if is_made else 1)
        assert made.exists() == is_made


def test_a_plan_is_approved(shared_home: Home, shared_sid: str) -> None:
    """A plan that waits for approval is reported and approved like a permission."""
    home, sid = shared_home, shared_sid
    switch_to(home, sid, "plan mode")
    ok(home.cli("send", sid, "plan build it"))
    assert home.cli("wait", sid).returncode == 3
    # By the tool's name, or where Claude has not written that yet, in the dialog's words.
    assert "plan" in ok(home.cli("last-message", sid)).lower()
    ok(home.cli("respond", sid, "--allow"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)).startswith("planned: ")


@pytest.mark.parametrize("what", ["process", "session", "server"])
def test_a_death_in_mid_turn_ends_the_wait_within_two_seconds(home: Home, sid: str, what: str) -> None:
    """A wait ends within two seconds after the process, its tmux session or the tmux server is killed, and says
    which."""
    ok(home.tmux("new-session", "-d", "-s", "keeps-the-server"))
    ok(home.cli("send", sid, "hang"))
    wait = home.popen("dev-sessions", "wait", sid)
    if sys.platform == "linux":
        await_waiting(wait)
    pid = json.loads(ok(home.cli("inspect", sid)))["claudePid"]
    if what == "process":
        os.kill(pid, signal.SIGKILL)
    else:
        ok(home.tmux("kill-session", "-t", f"=dev-{sid}") if what == "session" else home.tmux("kill-server"))
    began = time.monotonic()
    _, error = wait.communicate(timeout=30)
    took, began = time.monotonic() - began, time.monotonic()
    home.popen("dev-sessions", "status", sid).communicate(timeout=30)
    # A busy machine, on which a command takes long, delays the end of the wait as well.
    assert took < max(2, 5 * (time.monotonic() - began))
    assert wait.returncode == 1
    said = {"process": "its Claude process has ended", "session": "its tmux session is gone"}
    assert f"{sid} is lost: " in error
    assert said.get(what, "its tmux server is gone") in error


def test_an_update_in_the_middle_of_a_turn(home: Home, model: ScriptedModel) -> None:
    """A session whose program is replaced, as an update does, ends its turn and goes on with the next message."""
    link = home.workspace("bin") / "claude"
    link.symlink_to(agent_bin("claude") / "claude")
    home.env["PATH"] = f"{link.parent}{os.pathsep}{home.env['PATH']}"
    home.configure_login_shells()
    sid = create(home, "claude")
    ok(home.cli("send", sid, "when told run echo told"))
    fake_claude(home, DIES)
    link.unlink()
    link.symlink_to(home.path / "fake" / "claude")
    assert ok(home.cli("status", sid)) == "working\n"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "ran: told\n"
    assert ok(home.cli("ask", sid, "say next")) == "next\n"
