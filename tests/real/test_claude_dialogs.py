"""A dialog of Claude's is answered by the options that it shows at the moment of the answer, and by nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import VERSION, box, end_what_is_left, mode_of, press, screen, switch_to
from tests.support.cli import create, ok, records, state_of
from tests.support.faulty_tmux import FaultyTmux
from tests.support.home import Home

pytestmark = pytest.mark.forked

#: What keeps a digit and the key behind it apart: together Claude takes them for a paste.
APART = ("Down",)


@pytest.fixture
def asking(shared_home: Home) -> str:
    """Provide a session that asks for permission, which the tests of this file share."""
    sid = next(iter(records(shared_home)), "") or create(shared_home, "claude")
    end_what_is_left(shared_home, sid)
    switch_to(shared_home, sid, "manual mode")
    poke = shared_home.workspace() / "poke"
    poke.write_text("#!/bin/sh\ntouch $1\n")
    poke.chmod(0o755)
    return sid


def drawn(home: Home, sid: str, words: str) -> None:
    """Wait until these words are on the screen."""
    assert poll(lambda: words in screen(home, sid) or None, Deadline(30), 0.05), screen(home, sid)


def press_for(home: Home, sid: str, key: str, words: str) -> None:
    """Press a key until these words are on the screen; a new dialog may ignore the first one."""
    for _ in range(10):
        press(home, sid, key)
        if poll(lambda: words in screen(home, sid) or None, Deadline(2), 0.05):
            return
    pytest.fail(f"no {words!r} after {key}:\n{screen(home, sid)}")


def ask_to_poke(home: Home, sid: str, name: str) -> Callable[[], bool]:
    """Have Claude ask for permission to create a file; return a function that tells whether the file exists."""
    ok(home.cli("send", sid, f"run ./poke {name}"))
    assert home.cli("wait", sid).returncode == 3
    drawn(home, sid, "Do you want to proceed?")
    return (home.workspace() / name).exists


def resize(home: Home, sid: str, width: int, height: int) -> None:
    """Resize the session's terminal."""
    ok(home.tmux("resize-window", "-t", f"=dev-{sid}:", "-x", str(width), "-y", str(height)))


def test_allow_chooses_only_known_options(shared_home: Home, asking: str) -> None:
    """If no option is known to allow this once, --allow prints the options and presses no key."""
    home, sid = shared_home, asking
    made = ask_to_poke(home, sid, "unknown")
    # Somebody is about to tell Claude what to do next: the first option has become another one.
    press_for(home, sid, "Tab", "and tell Claude what")
    done = home.cli("respond", sid, "--allow")
    assert (done.returncode, done.stdout) == (1, "")
    assert "offers no option that is known to allow this once, so nothing was pressed: 1. Yes, and tell" in done.stderr
    assert "4. No; choose one with: dev-sessions respond" in done.stderr
    for answer, words in (("9", "There is no option 9"), ("perhaps", "'perhaps' is none of the options")):
        done = home.cli("respond", sid, answer)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    assert state_of(home, sid)["state"] == "waiting_for_input"
    # A digit would be typed into the field, in which the cursor is.
    assert ok(home.cli("respond", sid, "--deny")) == f"Answered {sid}\n"
    assert home.cli("wait", sid).returncode == 1
    assert not made()


@pytest.mark.parametrize(
    "answer",
    [
        *("no", pytest.param("--allow", marks=pytest.mark.matrix)),
        *(pytest.param(answer, marks=pytest.mark.soak) for answer in ("--deny", "1")),
    ],
)
def test_an_answer_is_right_though_somebody_has_moved_on(shared_home: Home, asking: str, answer: str) -> None:
    """Whatever a person has selected in the dialog, even a text field, the caller's answer is given."""
    home, sid = shared_home, asking
    made = ask_to_poke(home, sid, f"moved{answer}")
    press_for(home, sid, "Down", "❯ 2.")
    assert ok(home.cli("respond", sid, answer)) == f"Answered {sid}\n"
    allowed = answer in ("--allow", "1")
    assert home.cli("wait", sid).returncode == (0 if allowed else 1)
    assert made() == allowed
    assert mode_of(home, sid) == "manual mode"
    assert not (home.workspace() / ".claude" / "settings.local.json").exists()


def test_a_hidden_dialog_is_not_answered(shared_home: Home, asking: str) -> None:
    """While the dialog is hidden no key is pressed, and the error says so."""
    home, sid = shared_home, asking
    made = ask_to_poke(home, sid, "hidden")
    press(home, sid, "C-o")
    drawn(home, sid, "Showing detailed transcript")
    done = home.cli("respond", sid, "--allow")
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be read on the screen" in done.stderr
    assert "nothing was pressed" in done.stderr
    press(home, sid, "C-o")
    drawn(home, sid, "Do you want to proceed?")
    assert ok(home.cli("respond", sid, "--allow")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert made()


def test_one_answer_is_for_one_request(shared_home: Home, asking: str) -> None:
    """An answer decides one of two requests that look the same; the second is asked as well."""
    home, sid = shared_home, asking
    ok(home.cli("send", sid, "runs ./poke same ;; ./poke same"))
    for answer in ("--allow", "--deny"):
        assert home.cli("wait", sid).returncode == 3
        assert "./poke same" in ok(home.cli("last-message", sid))
        (home.workspace() / "same").unlink(missing_ok=True)
        assert ok(home.cli("respond", sid, answer)) == f"Answered {sid}\n"
        if answer == "--allow":
            # The state does not tell: the second request waits all the time.
            assert poll(lambda: (home.workspace() / "same").exists() or None, Deadline(30), 0.05)
    assert home.cli("wait", sid).returncode == 1
    assert not (home.workspace() / "same").exists()


@pytest.mark.parametrize(
    ("size", "answer"),
    [
        *(((40, 24), "--allow"), ((20, 10), "--allow")),
        pytest.param((60, 12), "--deny", marks=pytest.mark.matrix),
        *(
            pytest.param(size, answer, marks=pytest.mark.soak)
            for size, answer in (((40, 24), "--deny"), ((60, 12), "--allow"), ((20, 10), "--deny"))
        ),
    ],
)
def test_a_small_terminal_is_enough_or_nothing_is_pressed(
    shared_home: Home, asking: str, size: tuple[int, int], answer: str
) -> None:
    """In a small terminal, a request is decided as asked, or left alone."""
    home, sid = shared_home, asking
    made = ask_to_poke(home, sid, f"small{answer}{size[0]}")
    resize(home, sid, *size)
    done = home.cli("respond", sid, answer)
    if done.returncode:
        assert size[1] < 24
        assert state_of(home, sid)["state"] == "waiting_for_input"
        resize(home, sid, 200, 50)
        ok(home.cli("respond", sid, answer))
    assert home.cli("wait", sid).returncode == (0 if answer == "--allow" else 1)
    assert made() == (answer == "--allow")
    resize(home, sid, 200, 50)
    assert poll(lambda: box(home, sid) == "" or None, Deadline(30), 0.05)


def test_a_question_is_answered_from_within_its_field(shared_home: Home, asking: str) -> None:
    """A number chooses an option, even if a person has moved to the text field."""
    home, sid = shared_home, asking
    for keys, answer, reply in (
        ({"3": "❯ 3."}, "2", "blue"),
        ({"Down": "❯ 2.", "Up": "❯ 1."}, "red", "red"),
        ({"3": "❯ 3.", "Down": "❯ 4."}, "1", "red"),
        ({"3": "❯ 3."}, "neither", "neither"),
    ):
        assert home.cli("ask", sid, "ask Which colour? | red | blue").returncode == 3
        drawn(home, sid, "Chat about this")
        for key, words in keys.items():
            press_for(home, sid, key, words)
        assert ok(home.cli("respond", sid, answer)) == f"Answered {sid}\n"
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert ok(home.cli("last-message", sid)) == f"answered: {reply}\n"


@pytest.mark.skipif(VERSION < (2, 1, 332), reason="this version and tmux count the columns of an emoji differently")
def test_questions_that_a_terminal_draws_alike_are_answered(shared_home: Home, asking: str) -> None:
    """Each of two questions that differ only in the skin tone of an emoji gets its answer."""
    home, sid = shared_home, asking
    questions = "Which \U0001f44d\U0001f3fd? | red | blue ;; Which \U0001f44d\U0001f3ff? | red | blue"
    assert home.cli("ask", sid, f"ask {questions}").returncode == 3
    assert ok(home.cli("respond", sid, "red", "blue")) == f"Answered {sid}\n"
    assert ok(home.cli("wait", sid)) == "completed\n"


def server(home: Home, sid: str) -> int:
    """Return the process id of the session's tmux server."""
    return int(ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{pid}")))


def test_a_shell_command_in_the_box_is_a_draft(shared_home: Home, asking: str) -> None:
    """A message is not typed where Enter would run a shell command; the draft is quoted, and cleared with
    --discard-draft."""
    home, sid = shared_home, asking
    press(home, sid, "-l", "!touch drafted")
    drawn(home, sid, "! for shell mode")
    drawn(home, sid, "touch drafted")
    done = home.cli("send", sid, "say hi")
    assert done.returncode == 1
    assert "Somebody has typed into the box" in done.stderr
    assert "('!touch drafted')" in done.stderr
    ok(home.cli("send", sid, "say hi", "--discard-draft"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "hi\n"
    assert not (home.workspace() / "drafted").exists()


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("ask", "1"),
        pytest.param("ask", "neither", marks=pytest.mark.soak),
        pytest.param("ask", "a\nb\nc\nd\ne", marks=pytest.mark.matrix),
        # Claude writes such a question only when it is answered.
        pytest.param("trail 0.3 ask", "1", marks=pytest.mark.soak),
        ("trail 0.3 ask", "neither"),
    ],
)
def test_an_answer_given_by_somebody_else_is_reported(shared_home: Home, asking: str, script: str, answer: str) -> None:
    """If two answer a question at the same moment, one wins; the other gets an error, and leaves nothing typed."""
    home, sid = shared_home, asking
    tmux = FaultyTmux(home, server(home, sid))
    assert home.cli("ask", sid, f"{script} Which colour? | red | blue").returncode == 3
    drawn(home, sid, "Chat about this")
    tmux.arm("after keys", 1, "if-shell", keys=["2", *APART])
    done = home.cli("respond", sid, answer, env=tmux.env)
    assert tmux.has_failed()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{sid} did not take this answer: 'blue' was taken, as somebody used its terminal at the same moment;"
        f" see the result: dev-sessions last-message {sid}\n"
    )
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("last-message", sid)) == "answered: blue\n"
    assert poll(lambda: box(home, sid) == "" or None, Deadline(30), 0.05)


@pytest.mark.parametrize(
    ("answer", "other", "did"),
    [pytest.param("--allow", "No", "denied", marks=pytest.mark.soak), ("--deny", "Yes", "allowed")],
)
def test_a_decision_made_by_somebody_else_is_reported(
    shared_home: Home, asking: str, answer: str, other: str, did: str
) -> None:
    """If two decide on a request at the same moment, one wins; the other gets an error."""
    home, sid = shared_home, asking
    made = ask_to_poke(home, sid, f"together{answer}")
    tmux = FaultyTmux(home, server(home, sid))
    option = re.search(rf"(\d)\. {other}$", screen(home, sid), re.MULTILINE)
    assert option
    tmux.arm("after keys", 1, "if-shell", keys=[option[1], *APART])
    done = home.cli("respond", sid, answer, env=tmux.env)
    assert tmux.has_failed()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"it was {did}, as somebody used its terminal at the same moment" in done.stderr
    assert home.cli("wait", sid).returncode == (1 if did == "denied" else 0)
    assert made() == (did == "allowed")


@pytest.mark.parametrize(
    "script",
    ["run sleep 9; ./poke {name}", "runs ./poke {name} ;; ./poke other", "subagent run ./poke {name}"],
    ids=["long", "parallel", "subagent"],
)
def test_a_denial_is_not_reported_without_proof(shared_home: Home, asking: str, script: str) -> None:
    """If somebody allows what is denied at the same moment, the denial is an error, whether the call runs on, is one of
    several or a subagent's; and nothing of it stays in the input box."""
    home, sid = shared_home, asking
    name = f"allowed{script[:9].strip()}"
    ok(home.cli("send", sid, script.format(name=name)))
    assert home.cli("wait", sid).returncode == 3
    drawn(home, sid, "Do you want to proceed?")
    tmux = FaultyTmux(home, server(home, sid))
    option = re.search(r"(\d)\. Yes$", screen(home, sid), re.MULTILINE)
    assert option
    tmux.arm("after keys", 1, "if-shell", keys=[option[1], *APART])
    done = home.cli("respond", sid, "--deny", env=tmux.env)
    assert tmux.has_failed()
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing proves that it was denied" in done.stderr or "it was allowed" in done.stderr
    while state_of(home, sid)["state"] == "waiting_for_input":
        ok(home.cli("respond", sid, "--deny"))
    home.cli("wait", sid)
    assert poll(lambda: box(home, sid) == "" or None, Deadline(30), 0.05)


def test_a_subagents_request_is_decided_as_asked(shared_home: Home, asking: str) -> None:
    """A permission that a subagent needs is allowed or denied, and the answer is read back from the subagent's
    transcript."""
    home, sid = shared_home, asking
    for decision in ("--allow", "--deny"):
        name = f"subagent{decision}"
        ok(home.cli("send", sid, f"subagent run ./poke {name}"))
        assert home.cli("wait", sid).returncode == 3
        drawn(home, sid, "Do you want to proceed?")
        assert ok(home.cli("respond", sid, decision)) == f"Answered {sid}\n"
        home.cli("wait", sid)
        assert (home.workspace() / name).exists() == (decision == "--allow")


def test_an_option_longer_than_a_row_is_chosen(shared_home: Home, asking: str) -> None:
    """An option whose label takes several rows can be chosen while its question is only on the screen."""
    label = "red " * 80 + "end"
    # Claude writes such a question only when it is answered.
    assert shared_home.cli("ask", asking, f"trail 0.3 ask Which colour? | {label} | blue").returncode == 3
    ok(shared_home.cli("respond", asking, "1"))
    assert ok(shared_home.cli("wait", asking)) == "completed\n"
    assert label in ok(shared_home.cli("last-message", asking))
