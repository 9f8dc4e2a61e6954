"""Messages to Claude Code arrive once and unchanged, or are refused with the reason."""

from __future__ import annotations

import json
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.claude.message_text import PREAMBLE, original_text, visible
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import (
    MARKS,
    below_prompt,
    box,
    end_what_is_left,
    press,
    screen,
    sent_state,
    transcript,
    type_draft,
)
from tests.support.cli import create, ok, records
from tests.support.home import Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked


@pytest.fixture
def sid(home: Home) -> str:
    """Provide a session of Claude."""
    return create(home, "claude")


@pytest.fixture
def shared_sid(shared_home: Home) -> str:
    """Provide the session of Claude in the home that tests share."""
    if "shared" not in records(shared_home):
        return create(shared_home, "claude", "--id", "shared")
    end_what_is_left(shared_home, "shared")
    return "shared"


#: Where Claude asks a hook about each message that has the word dog; the hook runs this file.
HOOKED, BLOCKS = "hooked", "blocks.sh"


@pytest.fixture
def hooked_sid(shared_home: Home) -> str:
    """Provide the session of Claude whose messages a hook may block."""
    if HOOKED not in records(shared_home):
        settings = shared_home.workspace(HOOKED) / ".claude" / "settings.json"
        settings.parent.mkdir()
        command = f"if grep -q dog; then . {settings.parents[1] / BLOCKS}; fi"
        settings.write_text(
            json.dumps({"hooks": {"UserPromptSubmit": [{"hooks": [{"type": "command", "command": command}]}]}})
        )
        ok(shared_home.cli("create", "--id", HOOKED, cwd=shared_home.workspace(HOOKED)))
    return HOOKED


def logged(home: Home, sid: str) -> list[str]:
    """Return the user's messages in the logs."""
    return [turn["text"] for turn in json.loads(ok(home.cli("logs", sid, "--json"))) if turn["role"] == "human"]


def model_saw(model: ScriptedModel) -> str:
    """Return the last message that the model got, without the preamble and the program's marks."""
    return original_text(model.last_text(), marked=MARKS)


#: Contents that one message can have together.
TOGETHER = {
    "two lines": "say one\ntwo",
    "indentation": "say def f():\n    if x:\n        return 1\n\n    return 2",
    "quotes": "say \"double\" 'single' $(id) `id` $HOME \\n %s {a,b} <b> & | * ~",
    "emoji": "say \U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea",
    "right to left": "say \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
}
EXACT = {
    "many at once": "\n".join(TOGETHER.values()),
    "twenty lines": "say " + "\n".join(f"line {number}" for number in range(20)),
    "combining": "say n\u0303 a\u0323\u0301 \u0915\u094d\u0937",
    "a dash": "--help me -x",
    "two slashes": "// a comment",
    "lines like a command": "/cost\nis what I ask about",
    "a long line": "say " + "word " * 400 + "end",
    "a mark like the program's": 'say <pasted_content id="1">\nx\n</pasted_content id="1">',
}
#: Of these kinds, others are sent in test_claude.py and test_claude_commands.py.
MORE_EXACT = {
    "a sign": "# say x",
    "an at": "@nobody say x",
    "a bang": "!ls",
    "a path": "/etc/hosts is a file",
    "a path alone": "/usr",
    "a question mark": "?",
    "a semicolon": "say a;",
    "a backslash": "say a\\",
    "a slash and a blank": "/ hello",
}


@pytest.mark.parametrize(
    "text",
    [
        *(pytest.param(text, id=name) for name, text in EXACT.items()),
        *(pytest.param(text, id=name, marks=pytest.mark.matrix) for name, text in TOGETHER.items()),
        *(pytest.param(text, id=name, marks=pytest.mark.soak) for name, text in MORE_EXACT.items()),
    ],
)
def test_a_message_arrives_unchanged(shared_home: Home, model: ScriptedModel, shared_sid: str, text: str) -> None:
    """A message of any content arrives exactly as it was sent, once, and is logged like that."""
    home, sid = shared_home, shared_sid
    before = len(logged(home, sid))
    assert sent_state(home, sid, "--file", "-", stdin=text) == "submitted"
    assert ok(home.cli("wait", sid)) == "completed\n"
    # 2.1.332 composes characters, 2.1.250 does not.
    assert model_saw(model).strip() in (text, unicodedata.normalize("NFC", text))
    if text == unicodedata.normalize("NFC", text):
        assert [said.strip() for said in logged(home, sid)[before:]] == [text]
    assert sum(visible(text) in visible(original_text(turn.user_text, marked=MARKS)) for turn in model.turns()) == 1


def test_what_cannot_be_typed_is_changed_as_documented(
    shared_home: Home, model: ScriptedModel, shared_sid: str
) -> None:
    """Tabs become spaces, control characters and trailing blanks are dropped, and nothing else is changed."""
    home, sid = shared_home, shared_sid
    sent = "say a\tb\r\nc\x1b[31md\x07\x00\x7fe\u200b\ufefff\x03g \n\n"
    assert sent_state(home, sid, "--file", "-", stdin=sent) == "submitted"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert re.sub(" +", " ", model_saw(model)) == "say a b\nc[31mdefg"


def test_invisible_characters_do_not_hide_a_message(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A message with joiners, bidirectional marks and variation selectors is found once, whatever Claude makes of
    them."""
    home, sid = shared_home, shared_sid
    invisible = "\u202eabc\u202c so\u00adft \u034f\u115f\u17b4 q\ufe0f \u2764\ufe0f \U000e0041"
    sent = f"say क्\u200dष {invisible} 👩\u200d👩\u200d👧 end"
    assert sent_state(home, sid, "--file", "-", stdin=sent) == "submitted"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert visible(model_saw(model)) == visible(sent)
    assert "👩\u200d👩\u200d👧" in model_saw(model)


def test_an_escape_sequence_presses_no_keys(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A message cannot end its own paste and press keys."""
    home, sid = shared_home, shared_sid
    assert sent_state(home, sid, "--file", "-", stdin="say x\x1b[201~\r!touch hacked\r") == "submitted"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert len(model.turns()) == 1
    assert not (home.workspace() / "hacked").exists()


def test_a_long_message_is_the_users_own(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A long message reaches the model as it was sent; a very long one may have a preamble, which says whose words
    follow."""
    home, sid = shared_home, shared_sid
    for text in ("say a\nb\nc\nd\ne", "say " + "\n".join(f"{number} {'word ' * 10}" for number in range(120))):
        ok(home.cli("ask", sid, "--file", "-", stdin=text))
        assert model.last_text() == text.rstrip()
    very_long = "say " + "a line of words\n" * 1000 + "end"
    ok(home.cli("ask", sid, "--file", "-", stdin=very_long))
    assert model.last_text().startswith(f"{PREAMBLE}\n") == MARKS, "older versions take any paste for the user's words"
    assert model_saw(model).strip() == very_long
    ok(home.cli("ask", sid, "say short"))
    assert model.last_text() == "say short"
    assert PREAMBLE not in ok(home.cli("logs", sid))


def test_a_message_too_long_to_be_found_again_is_refused(
    shared_home: Home, model: ScriptedModel, shared_sid: str
) -> None:
    """A message that is too long is refused before anything is typed, with what to do instead; the session goes on."""
    home, sid = shared_home, shared_sid
    for text in ("say " + "x" * 4_200_000, 'say "' + "\n\t" * 1_000_000):
        done = home.cli("send", sid, "--file", "-", stdin=f"{text}.")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "was not sent, nothing was typed: The message takes" in done.stderr
        assert "can be proved to arrive; write it to a file and send the path of that file" in done.stderr
    assert "x" * 10 not in screen(home, sid)
    assert ok(home.cli("ask", sid, "say after")) == "after\n"
    assert [original_text(turn.user_text) for turn in model.turns()] == ["say after"]


@pytest.mark.soak
def test_the_longest_message_arrives(home: Home, sid: str) -> None:
    """A message of 4 MB is proved to have arrived, whatever the program answers, and is logged once."""
    text = "x" * 4_100_000
    assert sent_state(home, sid, "--file", "-", stdin=text) == "submitted"
    assert "not in the transcript" not in home.cli("wait", sid).stderr
    turns = json.loads(ok(home.cli("logs", sid, "--json")))
    assert [turn["text"] for turn in turns if turn["role"] == "human"] == [text]


@pytest.mark.matrix
def test_a_command_with_a_prompt_of_its_own_has_a_turn(home: Home) -> None:
    """A user-defined command that asks the model something is waited for like a message."""
    commands = home.workspace() / ".claude" / "commands"
    commands.mkdir(parents=True)
    (commands / "greet.md").write_text("after 1 say hello from $ARGUMENTS")
    sid = create(home, "claude")
    assert sent_state(home, sid, "/greet me") == "command"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "hello from me" in ok(home.cli("last-message", sid))


def test_a_command_that_opens_a_dialog_says_so(shared_home: Home, shared_sid: str) -> None:
    """A command that opens a dialog has the state `command`; messages are refused until the dialog is gone."""
    home, sid = shared_home, shared_sid
    assert sent_state(home, sid, "/cost") == "command"
    assert ok(home.cli("status", sid)) == "waiting_for_input\n"
    assert json.loads(ok(home.cli("status", sid, "--json")))["waitingFor"] == "Settings"
    done = home.cli("send", sid, "say hi")
    assert done.returncode == 1
    assert f"nothing was typed: {sid} waits for Settings" in done.stderr
    press(home, sid, "Escape")
    assert poll(lambda: True if ok(home.cli("status", sid)) == "idle\n" else None, Deadline(30), 0.1)
    assert ok(home.cli("ask", sid, "say hi")) == "hi\n"


def test_clear_begins_a_new_conversation_that_is_followed(shared_home: Home, shared_sid: str) -> None:
    """After /clear the session continues with a new conversation, which is recorded, read and waited for."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say before"))
    before = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    assert sent_state(home, sid, "/clear") == "command"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert json.loads(ok(home.cli("inspect", sid)))["internalId"] != before
    assert ok(home.cli("last-message", sid)) == ""
    assert "before" not in ok(home.cli("ask", sid, "history"))
    assert "before" not in ok(home.cli("logs", sid))


def test_what_is_queued_behind_a_clear_is_followed(shared_home: Home, shared_sid: str, model: ScriptedModel) -> None:
    """A message behind a /clear that is queued itself is answered in the new conversation, where ask and wait find
    it."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "when told say before"))
    assert sent_state(home, sid, "/clear") == "queued"
    asking = home.popen(sys.executable, "-m", "dev_sessions", "ask", sid, "say behind the clear")
    assert poll(lambda: "say behind the clear" in transcript(home, sid) or None, Deadline(30), 0.05)
    model.allow("told")
    assert asking.communicate(timeout=60) == ("behind the clear\n", "")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "behind the clear\n"
    assert "before" not in ok(home.cli("ask", sid, "history"))


def test_what_is_queued_between_two_clears_is_followed(
    shared_home: Home, shared_sid: str, model: ScriptedModel
) -> None:
    """The answer to a message between two /clears is printed, although the session has gone on to the third
    conversation by then."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "when told say before"))
    assert sent_state(home, sid, "/clear") == "queued"
    asking = home.popen(sys.executable, "-m", "dev_sessions", "ask", sid, "when asked say between")
    assert poll(lambda: "when asked say between" in screen(home, sid) or None, Deadline(30), 0.05)
    assert sent_state(home, sid, "/clear") == "queued"
    assert sent_state(home, sid, "say after") == "queued"
    model.allow("told")
    assert poll(lambda: model.turns()[-1].user_text == "when asked say between" or None, Deadline(30), 0.05)
    model.allow("asked")
    assert asking.communicate(timeout=60) == ("between\n", "")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "after\n"


def test_clear_by_a_person_is_followed(shared_home: Home, shared_sid: str) -> None:
    """A person's /clear in the terminal does not lose the session."""
    home, sid = shared_home, shared_sid
    ok(home.cli("ask", sid, "say before"))
    type_draft(home, sid, "/clear")
    before = json.loads(ok(home.cli("inspect", sid)))["internalId"]
    press(home, sid, "Enter")
    assert poll(lambda: True if ok(home.cli("last-message", sid)) == "" else None, Deadline(30), 0.1)
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert json.loads(ok(home.cli("inspect", sid)))["internalId"] != before
    assert ok(home.cli("ask", sid, "say after")) == "after\n"


def test_a_draft_is_discarded_only_on_request(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """--discard-draft clears a draft, even one of several lines, idle or working; without it, send refuses."""
    home, sid = shared_home, shared_sid
    lines = "\n".join(f"typed {number}" for number in range(60))
    for draft in ("one line", "three\nlines\nof it", "\n".join(f"draft {number}" for number in range(12)), lines):
        if "draft" in draft:
            press_draft(home, sid, draft)
        else:
            for part in draft.splitlines(keepends=True) if draft == lines else [draft]:
                type_draft(home, sid, part)
        done = home.cli("send", sid, "say hi")
        assert done.returncode == 1
        assert f"Somebody has typed into the box of {sid}" in done.stderr
        assert ok(home.cli("send", sid, "--discard-draft", "say hi"))
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert model_saw(model) == "say hi"
    ok(home.cli("send", sid, "when told say working"))
    type_draft(home, sid, "two\nlines")
    assert sent_state(home, sid, "--discard-draft", "say next") == "queued"
    model.allow("told")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert json.loads(ok(home.cli("last-message", sid, "-n", "2", "--json"))) == ["working", "next"]


def press_draft(home: Home, sid: str, text: str) -> None:
    """Paste a draft that the program shows as a placeholder."""
    pane = ("-t", f"=dev-{sid}:")
    ok(home.tmux("load-buffer", "-b", "t", "-", ";", "paste-buffer", "-p", "-d", "-b", "t", *pane, stdin=text))
    assert poll(lambda: "[Pasted text" in below_prompt(home, sid) or None, Deadline(30), 0.05)


@pytest.mark.parametrize("text", ["after 20 say short", "after 20 say " + "\n".join(map(str, range(40)))])
def test_a_prompt_that_escape_restored_is_not_a_draft(
    shared_home: Home, model: ScriptedModel, shared_sid: str, text: str
) -> None:
    """A message that Escape restored to the box does not spoil the next one."""
    home, sid = shared_home, shared_sid
    ok(home.cli("send", sid, "--file", "-", stdin=text))
    press(home, sid, "Escape")
    done = home.cli("wait", sid)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"The turn of {sid} was interrupted" in done.stderr
    # Not on the screen alone: what was sent before is above the box, behind the same sign.
    assert poll(lambda: box(home, sid) or re.search(r"↑ \d+ more", screen(home, sid)), Deadline(30), 0.1)
    done = home.cli("ask", sid, "say next")
    assert (done.returncode, done.stdout) == (0, "next\n")
    assert f"what was in the input box of {sid} is discarded, and its model never got it: 'after 20 say" in done.stderr
    assert model_saw(model) == "say next"


def test_two_senders_at_once_are_served_one_after_the_other(shared_home: Home, shared_sid: str) -> None:
    """Messages that several senders send at the same moment all arrive, each whole and once."""
    home, sid = shared_home, shared_sid
    before = len(logged(home, sid))
    texts = [f"say from sender {number}{'x' * 200 * number}" for number in range(6)]
    failed: list[str] = []

    def send(text: str) -> None:
        done = home.cli("send", sid, "--file", "-", stdin=text)
        if done.returncode:
            failed.append(done.stderr)

    senders = [threading.Thread(target=send, args=(text,)) for text in texts]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert failed == []
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert sorted(logged(home, sid)[before:]) == sorted(texts)


def test_a_message_to_a_question_is_its_answer(shared_home: Home, shared_sid: str) -> None:
    """A message to a session with an open question is the answer as free text, never an option by accident."""
    home, sid = shared_home, shared_sid
    for text in ("2", "several\nlines\nof\nan answer"):
        done = home.cli("ask", sid, "ask Which colour? | red | blue")
        assert (done.returncode, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")
        assert sent_state(home, sid, "--file", "-", stdin=text) == "answered"
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert ok(home.cli("last-message", sid)) == f"answered: {text}\n"


def test_a_message_during_a_tool_is_merged(shared_home: Home, model: ScriptedModel, shared_sid: str) -> None:
    """A message that is merged into a running turn is queued first, and its reply is that turn's."""
    home, sid = shared_home, shared_sid
    begun, go = home.workspace() / "begun", home.workspace() / "go"
    script = f"touch {begun}; until test -e {go}; do sleep 0.05; done; echo out"
    ok(home.cli("send", sid, f"trail 0 run {script}"))
    assert poll(lambda: begun.exists() or None, Deadline(30), 0.05)
    assert sent_state(home, sid, "say merged") == "queued"
    go.touch()
    assert ok(home.cli("wait", sid)) == "completed\n"
    reply = ok(home.cli("last-message", sid))
    # Older versions bring it to the model in other words, which the scripted model does not follow.
    assert reply in (["merged\n"] if MARKS else ["merged\n", "ran: out\n"])
    assert "say merged" in json.dumps(model.turns()[-1].body["messages"])


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ("echo 'no dogs, please' >&2; exit 2", "no dogs, please"),
        ("""echo '{"decision": "block", "reason": "no dogs"}'""", "no dogs"),
        pytest.param("exit 2", "No stderr output", marks=pytest.mark.matrix),
    ],
    ids=["exit-code", "json", "silent"],
)
def test_a_message_that_a_hook_blocks(
    shared_home: Home, model: ScriptedModel, hooked_sid: str, blocks: str, words: str
) -> None:
    """If a hook blocks a message, send fails with the hook's words, and the next message is sent and answered."""
    home, sid = shared_home, hooked_sid
    (home.workspace(HOOKED) / BLOCKS).write_text(blocks)
    assert ok(home.cli("ask", sid, "say first")) == "first\n"
    for text in ("say dog", "say dog " + "and more words " * 80, "say dog\nand\nmore\nlines\nof it"):
        done = home.cli("send", sid, text)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{words}"), done.stderr
        assert done.stderr.endswith("change the message, or the hook in Claude Code's settings\n")
        assert ok(home.cli("wait", sid)) == "completed\n", "of the message before"
    assert ok(home.cli("ask", sid, "say next")) == "next\n"
    assert not [turn for turn in model.turns() if "dog" in turn.user_text]


def test_a_message_that_a_hook_blocks_during_a_turn(shared_home: Home, model: ScriptedModel, hooked_sid: str) -> None:
    """A message that a hook blocks while Claude works is reported within seconds, and the turn goes on."""
    home, sid = shared_home, hooked_sid
    (home.workspace(HOOKED) / BLOCKS).write_text("echo 'no dogs' >&2; exit 2")
    ok(home.cli("send", sid, "when told run echo told"))
    done = home.cli("send", sid, "say dog")
    # Claude writes that it was blocked after the turn, if at all.
    if done.returncode:
        assert "it is in the input box, and was not submitted" in done.stderr
    model.allow("told")
    assert home.cli("wait", sid).returncode == 1
    done = home.cli("ask", sid, "say next")
    assert (done.returncode, done.stdout) == (0, "next\n")
    assert "say dog" in done.stderr or not done.stderr
    assert not [turn for turn in model.turns() if "dog" in turn.user_text]


@pytest.fixture
def keybindings(shared_home: Home) -> Iterator[Path]:
    """Provide the path of the user's file of key bindings, and remove that after the test."""
    file = shared_home.path / ".claude" / "keybindings.json"
    yield file
    file.unlink()


def test_enter_that_does_not_submit(shared_home: Home, shared_sid: str, keybindings: Path) -> None:
    """If Enter is bound to something else, nothing is typed and the file is named, also by doctor; without the binding
    the next message is sent."""
    home, sid, file = shared_home, shared_sid, keybindings
    bindings = {"enter": "chat:newline", "ctrl+j": "chat:submit"}
    file.write_text(json.dumps({"bindings": [{"context": "Chat", "bindings": bindings}]}))
    done = home.cli("send", sid, "say lost")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"nothing was typed: Enter does not submit in {sid}: {file} binds it to something else" in done.stderr
    assert "say lost" not in screen(home, sid)
    assert f"remove the binding of enter from {file}" in home.cli("doctor").stdout
    file.write_text(json.dumps({"bindings": [{"context": "Chat", "bindings": {"ctrl+j": "chat:newline"}}]}))
    assert ok(home.cli("ask", sid, "say sent")) == "sent\n"


def test_enter_submits_as_a_key_that_is_bound_to_nothing_else(
    shared_home: Home, shared_sid: str, keybindings: Path
) -> None:
    """What is bound in other contexts, or Enter to submit, is no reason to refuse a message."""
    home, sid, file = shared_home, shared_sid, keybindings
    blocks = [
        {"context": "Settings", "bindings": {"enter": "settings:close"}},
        {"context": "Chat", "bindings": {"Return": "chat:newline"}},
        {"context": "Chat", "bindings": {"enter": "chat:submit", "ctrl+x ctrl+e": None}},
    ]
    file.write_text(json.dumps({"bindings": blocks}))
    assert ok(home.cli("ask", sid, "say sent")) == "sent\n"
