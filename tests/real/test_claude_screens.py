"""Every dialog of Claude's that can be raised is shown whole, answered and closed.

Dialogs of 2.1.332, and the test of each:

* menus, pickers and pages of commands: `DIALOGS`, and the tests of single ones below; `/cost` and `/usage` are tabs of
  `/status`, `/settings` is `/config`, `/checkpoint` and `/undo` are `/rewind`, `/continue` is `/resume`, `/bashes` is
  `/tasks`, `/allowed-tools` is `/permissions`, `/plugins` is `/plugin`; Escape twice opens `/rewind`
* questions: test_claude.py, test_claude_dialogs.py, tests/reliability/test_forged_dialogs.py
* permissions, also those of a subagent: test_claude_dialogs.py
* approval of a plan: `test_a_plan_is_shown_whole_with_the_modes_it_leads_to`
* what an MCP server asks: `test_a_form_is_filled_in` and others here
* a message of another session that is held back: `test_a_held_message_is_delivered_or_denied`
* the menu at a usage limit: `test_the_menu_of_a_usage_limit_is_answered`
* the survey, which is none: test_claude_traffic.py
* trust in a folder, the bypass mode, an API key, imports of CLAUDE.md: before the start, when nothing can be typed;
  `create` shows them and fails (test_claude.py); so do the servers of `.mcp.json` (test_trust.py), about which 2.1.332
  does not ask with the bypass flag

Not raised, and why:

* `/upgrade`, `/privacy-settings`, `/install-github-app`, the pages behind `/login` and `/plugin`: they need an account
  or the network
* `/agents`, `/output-style`, `/vim`, `/doctor`, `/context`, `/release-notes`, `/statusline`, `/color`, `/rename`,
  `/diff`, `/feedback`, `/tui`, `/focus`, `/terminal-setup`, `/recap`, `/radio`: they open no dialog here
* `/ide` looks for editors of this machine, and its page may close by itself; Claude reports that it is idle meanwhile
* `/keybindings` opens the user's editor, and the transcript (Ctrl-O) and the search in prompts (Ctrl-R) are opened by
  a person's key alone; for all three Claude reports that it is idle
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import VERSION, mode_of, screen, switch_to
from tests.support.cli import assert_refused, create, ok, records, state_of
from tests.support.elicitation import add_server
from tests.support.faulty_tmux import FaultyTmux
from tests.support.home import TELEMETRY, Home
from tests.support.model import ScriptedModel

pytestmark = pytest.mark.forked

#: 2.1.250 says that it is idle while /rewind is open, and numbers what has no numbers later.
OLD = VERSION < (2, 1, 332)
only_new = pytest.mark.skipif(OLD, reason="this version has other dialogs")


@dataclass(frozen=True)
class Example:
    """A dialog: its name, words of its text, and some of its options with their numbers; `count` options in all."""

    name: str
    words: str = ""
    options: Sequence[str] = ()
    count: int | None = None


#: Outside of fullscreen mode, which is the default with traffic, 2.1.332 draws some 20 settings in any window.
LATER_SETTINGS = [] if TELEMETRY else ["29. Editor mode - normal"]
DIALOGS: dict[str, Example] = {
    "/model": Example("Select model", "", ["1. Default (recommended) - ✔ "]),
    "/theme": Example("Theme", "Choose the text style", ["2. Dark mode - ✔", "8. New custom theme…"], 8),
    "/export": Example("Export conversation", "", ["1. Copy to clipboard - ", "2. Save to file - Save the"], 2),
    "/cd /usr": Example("Moving to a new directory:", "/usr", ["1. No, stay put", "2. Yes, move here"], 2),
}
NEW_DIALOGS: dict[str, Example] = {
    **DIALOGS,
    "/config": Example(
        "Settings", "⌕ Search settings…", ["1. Auto-compact - on", *LATER_SETTINGS], 39 if LATER_SETTINGS else 20
    ),
    "/status": Example("Settings", "Session ID:", [], 0),
    "/rewind": Example("Rewind", "Restore the code", ["1. say n0 - No code changes", "15. say n14 - "]),
    "/resume": Example("Resume session", "⌕ Search…"),
    "/permissions": Example("Permissions", "Claude Code won't ask", ["1. Add a new rule…"], 1),
    "/memory": Example("Memory", "", ["1. Auto-memory - on", "4. Open auto-memory folder"], 4),
    "/mcp": Example("MCP servers", "User MCPs", ["1. made - ✔ 1 tool"], 1),
    "/hooks": Example("Hooks", "This menu is read-only", ["1. All events"], 1),
    "/effort": Example("Effort", "Smarter", ["1. low", "2. medium - ✔", "5. max"], 5),
    "/help": Example("Help", "Shortcuts", [], 0),
    "/login": Example("Login", "Select login method:", ["3. 3rd-party platform · Bedrock"], 3),
    "/add-dir": Example("Add directory to workspace", "(It takes a text, and has '../other-project' now.)", [], 0),
    "/tasks": Example("Background", "No tasks currently running", ["1. Earlier in this session (0)"], 1),
    "/btw say aside": Example("/btw say aside", "aside", [], 0),
    "/sandbox": Example("Sandbox", "", ["1. Sandbox commands, with auto-allow", "3. No sandbox - ✔"], 3),
    "/skills": Example("Skills", "No skills yet", [], 0),
    "/powerup": Example("Power-ups", "", ["1. ◯ Talk to your codebase - ", "10. ◯ Dial the model - "], 10),
    "/scroll-speed": Example("Scroll speed", "Scroll to feel it", ["4. 1 - ✔"], 13),
    "/setup-bedrock": Example("Set up Amazon Bedrock", "", ["2. Bedrock API key (bearer token)"], 4),
    "/goal": Example("Goal", "No goal set", [], 0),
    "/workflows": Example("Dynamic workflows", "No dynamic workflows yet", [], 0),
    "/plugin": Example("Plugins", "No plugins to show", [], 0),
    "/fast": Example("↯ Fast mode", "unavailable", [], 0),
    "/mobile": Example("Get the Claude app on your phone", "claude.ai/mobile", [], 0),
    "/passes": Example("Guest passes", "No guest passes available", [], 0),
    "/stats": Example("Settings", "Favorite model", [], 0),
}


#: Those that differ the most, which the ordinary suite raises; of the others, the first have the marker `matrix`.
SAMPLE = ("/theme", "/cd /usr", "/config", "/rewind", "/mcp", "/add-dir")


@pytest.fixture
def sid(shared_home: Home) -> str:
    """Provide a session with some turns, which the tests of this file share, in a window of 100 columns and 24 rows."""
    made = "shown"
    if made in records(shared_home):
        # What a failed test has left.
        if ok(shared_home.cli("status", made)) == "waiting_for_input\n":
            ok(shared_home.cli("respond", made, "--cancel"))
        return made
    add_server(shared_home)
    create(shared_home, "claude", "--id", made)
    for number in range(15):
        ok(shared_home.cli("ask", made, f"say n{number}"))
    ok(shared_home.tmux("resize-window", "-t", f"=dev-{made}:", "-x", "100", "-y", "24"))
    return made


def raise_dialog(home: Home, sid: str, message: str) -> str:
    """Send a message that raises a dialog, and return what last-message shows."""
    ok(home.cli("send", sid, "--", message))
    assert home.cli("wait", sid).returncode == 3
    return ok(home.cli("last-message", sid))


def details(home: Home, sid: str) -> dict[str, Any]:
    """Return what status --json says."""
    found: dict[str, Any] = json.loads(ok(home.cli("status", sid, "--json")))
    return found


def respond(home: Home, sid: str, *answers: str) -> None:
    """Answer what the session asks."""
    assert ok(home.cli("respond", sid, *answers)) == f"Answered {sid}\n"


def cancel(home: Home, sid: str) -> None:
    """Close what the session asks, and see that it is idle then."""
    assert ok(home.cli("respond", sid, "--cancel")) == f"Cancelled the dialog of {sid}\n"
    assert ok(home.cli("status", sid)) != "waiting_for_input\n"
    assert poll(lambda: ok(home.cli("status", sid)) == "idle\n" or None, Deadline(30), 0.05)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(
            command,
            marks=[] if command in SAMPLE else pytest.mark.matrix if command in DIALOGS else pytest.mark.soak,
        )
        for command in (DIALOGS if OLD else NEW_DIALOGS)
    ],
)
def test_a_dialog_is_shown_whole_and_closed(shared_home: Home, sid: str, command: str) -> None:
    """wait exits 3 for each dialog, last-message shows its text and all of its options, status names and counts them,
    and respond --cancel closes it."""
    home, dialog = shared_home, (DIALOGS if OLD else NEW_DIALOGS)[command]
    shown = raise_dialog(home, sid, command)
    assert dialog.name in shown
    assert dialog.words in shown
    for option in dialog.options:
        assert f"\n{option}" in shown
    found = details(home, sid)
    assert (found["state"], found["waitingFor"]) == ("waiting_for_input", dialog.name)
    assert dialog.count in (None, found["options"])
    assert len(re.findall(r"(?m)^\d+\. ", shown)) == found["options"]
    cancel(home, sid)


def test_an_option_is_chosen_by_number_or_label(shared_home: Home, sid: str) -> None:
    """An answer chooses the option that has this number or label, whatever is selected, and opens what follows."""
    home = shared_home
    for answer, theme in (("3", "light"), ("dark mode", "dark")):
        raise_dialog(home, sid, "/theme")
        respond(home, sid, answer)
        assert ok(home.cli("wait", sid)) == "completed\n"
        # The screen is drawn after the state is written.
        assert poll(partial(is_shown, home, sid, f"Theme set to {theme}"), Deadline(30), 0.05)
    raise_dialog(home, sid, "/export")
    respond(home, sid, "Save to file")
    assert details(home, sid)["state"] == "waiting_for_input"
    respond(home, sid, "said.txt")
    assert ok(home.cli("wait", sid)) == "completed\n"
    said = home.workspace() / "said.txt"
    assert poll(lambda: (said.exists() and "n14" in said.read_text()) or None, Deadline(30), 0.05)


@only_new
def test_sliders_and_settings_are_changed(shared_home: Home, sid: str) -> None:
    """A value of a slider is chosen like an option, and a setting of a long list is switched."""
    home = shared_home
    raise_dialog(home, sid, "/effort")
    respond(home, sid, "high")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "3. high - ✔" in raise_dialog(home, sid, "/effort")
    cancel(home, sid)
    if not LATER_SETTINGS:
        return
    assert "\n31. Show last response in external editor - off\n" in raise_dialog(home, sid, "/config")
    respond(home, sid, "31")
    assert "\n31. Show last response in external editor - on\n" in ok(home.cli("last-message", sid))
    cancel(home, sid)


@only_new
def test_a_dialog_above_another_one_is_closed_with_it(shared_home: Home, sid: str) -> None:
    """--cancel closes what one has gone into, and the dialog below."""
    home = shared_home
    raise_dialog(home, sid, "/rewind")
    respond(home, sid, "say n3")
    assert "4. Never mind" in ok(home.cli("last-message", sid))
    cancel(home, sid)
    raise_dialog(home, sid, "/permissions")
    respond(home, sid, "Add a new rule…")
    respond(home, sid, "WebFetch")
    assert "WebFetch" in ok(home.cli("last-message", sid))
    cancel(home, sid)


def test_what_is_not_offered_is_not_pressed(shared_home: Home, sid: str) -> None:
    """An answer that is none of the options, a decision where nothing is decided, and a message are refused with what
    to do, and no key is pressed."""
    home = shared_home
    before = raise_dialog(home, sid, "/theme")
    close = f"close it with: dev-sessions respond {sid} --cancel"
    for answer, words in (
        (["plaid"], "'plaid' is none of the options, so nothing was pressed: 1. Auto (match terminal); 2. Dark mode"),
        (["9"], "There is no option 9: 'Theme' has 8"),
        (["1", "2"], "'Theme' takes one answer"),
        (["--allow"], f"{sid} asks for no permission, but shows 'Theme'"),
    ):
        done = home.cli("respond", sid, *answer)
        assert_refused(done, f"was not sent, nothing was typed: {words}")
        assert close in done.stderr or answer == ["9"]
    assert_refused(home.cli("send", sid, "say hi"), f"waits for Theme; dev-sessions last-message {sid} shows it;")
    assert ok(home.cli("last-message", sid)) == before
    cancel(home, sid)
    assert_refused(home.cli("respond", sid, "--cancel"), f"{sid} asks nothing")


@pytest.mark.parametrize("answer", ["Save to file", "--cancel"])
def test_a_dialog_that_has_changed_is_not_answered(shared_home: Home, sid: str, answer: str) -> None:
    """If a person closes the dialog at the moment of the answer, no key reaches the input box."""
    home = shared_home
    pid = int(ok(home.tmux("display-message", "-p", "-t", f"=dev-{sid}:", "#{pid}")))
    tmux = FaultyTmux(home, pid)
    raise_dialog(home, sid, "/export")
    tmux.arm("after keys", 1, "if-shell", keys=["Escape"])
    done = home.cli("respond", sid, answer, env=tmux.env)
    assert tmux.has_failed()
    assert (done.returncode == 0) == (answer == "--cancel")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert "❯ Save to file" not in screen(home, sid)
    assert ok(home.cli("ask", sid, "say clean")) == "clean\n"


@only_new
def test_a_session_moves_to_another_directory(shared_home: Home, sid: str) -> None:
    """The option without a number that is not the selected one is chosen."""
    home = shared_home
    raise_dialog(home, sid, "/cd /usr")
    respond(home, sid, "Yes, move here")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "run pwd")) == "ran: /usr\n"
    # Back, which asks nothing, as the folder is trusted.
    ok(home.cli("send", sid, f"/cd {home.workspace()}"))
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert ok(home.cli("ask", sid, "run pwd")) == f"ran: {home.workspace()}\n"


FORM = 'call mcp__made__elicit {"form":"form"}'


@only_new
def test_a_form_is_filled_in(shared_home: Home, sid: str) -> None:
    """Each field of what an MCP server asks gets its answer: text, a choice, a box, a number and several choices."""
    home = shared_home
    shown = raise_dialog(home, sid, FORM)
    assert shown.startswith(
        "MCP server “made” requests your input\n\nWho are you?\n\nGive one answer to each of its 5 "
    )
    assert "\n\nYour name (required, As on the badge)\n\nColour (required)\n\nSure?\n\nCount\n\nMany\n" in shown
    assert details(home, sid)["waitingFor"] == "MCP server “made” requests your input"
    respond(home, sid, "Ann Other", "blue", "no", "5", "x,z")
    assert ok(home.cli("wait", sid)) == "completed\n"
    given = {"colour": "blue", "count": 5, "many": ["x", "z"], "name": "Ann Other", "sure": False}
    assert ok(home.cli("last-message", sid)) == f"called: {json.dumps({'action': 'accept', 'content': given})}\n"


@only_new
@pytest.mark.parametrize("name", ["Zoe\u0301 \U0001f44d\U0001f3fd", pytest.param("x\u00ady", marks=pytest.mark.soak)])
def test_a_form_takes_a_text_that_is_drawn_in_another_way(shared_home: Home, sid: str, name: str) -> None:
    """A field takes a text of which the terminal draws a part only, or which Claude composes."""
    home = shared_home
    raise_dialog(home, sid, FORM)
    respond(home, sid, name, "blue", "", "", "")
    assert ok(home.cli("wait", sid)) == "completed\n"
    given = {"colour": "blue", "name": unicodedata.normalize("NFC", name)}
    assert ok(home.cli("last-message", sid)) == f"called: {json.dumps({'action': 'accept', 'content': given})}\n"


@only_new
def test_what_a_form_does_not_accept_is_reported(shared_home: Home, sid: str) -> None:
    """A choice that a field lacks is refused with those that it has, and a value that is not accepted with the reason;
    the form stays open, and an answer that is left out stays as it was."""
    home = shared_home
    raise_dialog(home, sid, FORM)
    assert_refused(home.cli("respond", sid, "Ann"), "has 5 field(s); give one answer to each, or one of: 1. Accept")
    wrong = home.cli("respond", sid, "Ann", "purple", "", "", "")
    assert_refused(wrong, "'purple' is none of the choices of 'Colour': 1. red, 2. blue, 3. green")
    wrong = home.cli("respond", sid, "", "2", "yes", "77", "")
    assert_refused(wrong, "was not accepted: Count: Must be an integer between 1 and 9")
    assert "Your name = Ann" in ok(home.cli("last-message", sid))
    respond(home, sid, "", "", "", "7", "")
    assert ok(home.cli("wait", sid)) == "completed\n"
    given = {"colour": "blue", "count": 7, "name": "Ann", "sure": True}
    assert ok(home.cli("last-message", sid)) == f"called: {json.dumps({'action': 'accept', 'content': given})}\n"


@only_new
@pytest.mark.parametrize(
    ("form", "answer", "action"),
    [
        ("form", "decline", "decline"),
        ("url", "--cancel", ""),
        pytest.param("confirm", "1", "accept", marks=pytest.mark.soak),
        pytest.param("confirm", "2", "decline", marks=pytest.mark.soak),
    ],
)
def test_a_form_is_accepted_declined_or_cancelled(
    shared_home: Home, sid: str, form: str, answer: str, action: str
) -> None:
    """What an MCP server asks is accepted or declined by its buttons, or cancelled, and its tool is told."""
    raise_dialog(shared_home, sid, f'call mcp__made__elicit {{"form":"{form}"}}')
    ok(shared_home.cli("respond", sid, answer))
    assert ok(shared_home.cli("wait", sid)) == "completed\n"
    assert f'"action": "{action or "cancel"}"' in ok(shared_home.cli("last-message", sid))


def test_a_question_and_a_permission_are_cancelled(shared_home: Home, sid: str) -> None:
    """--cancel on what the model asks ends its turn as interrupted, and what it wanted to do is not done."""
    home = shared_home
    ok(home.cli("send", sid, "ask Which colour? | red | blue"))
    assert home.cli("wait", sid).returncode == 3
    assert details(home, sid)["options"] == 2
    cancel(home, sid)
    assert "was interrupted" in home.cli("wait", sid).stderr
    switch_to(home, sid, "manual mode")
    ok(home.cli("send", sid, "run touch cancelled"))
    assert home.cli("wait", sid).returncode == 3
    assert (details(home, sid)["waitingFor"], details(home, sid)["options"] > 1) == ("permission prompt", True)
    cancel(home, sid)
    assert "was interrupted" in home.cli("wait", sid).stderr
    assert not (home.workspace() / "cancelled").exists()
    switch_to(home, sid, "bypass permissions")


def plan(home: Home, sid: str, model: ScriptedModel, steps: int) -> str:
    """Have the model ask for the approval of a plan with many steps, and return what last-message shows."""
    switch_to(home, sid, "plan mode")
    ok(home.cli("ask", sid, "say hi"))
    path = re.search(r"/[^\s\"'`\\]*/plans/[^\s\"'`\\]*\.md", json.dumps(model.turns()[-1].body))
    assert path is not None
    content = "# The plan\n\n" + "".join(f"{number}. Step {number}\n" for number in range(1, steps + 1))
    Path(path[0]).parent.mkdir(exist_ok=True)
    Path(path[0]).write_text(content)
    assert home.cli("ask", sid, "tool ExitPlanMode {}").returncode == 3
    return ok(home.cli("last-message", sid))


def is_shown(home: Home, sid: str, words: str) -> bool | None:
    """Return True if the screen shows these words, else None."""
    return words in screen(home, sid) or None


def is_in(home: Home, sid: str, mode: str) -> bool | None:
    """Return True if Claude is in this mode, else None."""
    return mode_of(home, sid) == mode or None


@only_new
def test_a_plan_is_shown_whole_with_the_modes_it_leads_to(shared_home: Home, sid: str, model: ScriptedModel) -> None:
    """last-message shows a plan that the screen does not hold, and the mode after each answer; a text is told to
    Claude."""
    home = shared_home
    shown = plan(home, sid, model, 90)
    assert "".join(f"{number}. Step {number}\n" for number in range(1, 91)) in shown
    assert "for this session - the mode is then bypass permissions, which asks for nothing\n" in shown
    assert "2. Yes, manually approve edits - the mode is then manual mode, which asks each time\n" in shown
    respond(home, sid, "change step 2")
    assert ok(home.cli("wait", sid)) == "completed\n"
    assert "the user said:\nchange step 2" in ok(home.cli("last-message", sid))
    assert poll(partial(is_in, home, sid, "plan mode"), Deadline(30), 0.05)
    for answer, mode in (("2", "manual mode"), ("1", "bypass permissions")):
        plan(home, sid, model, 3)
        respond(home, sid, answer)
        assert ok(home.cli("wait", sid)) == "completed\n"
        assert poll(partial(is_in, home, sid, mode), Deadline(30), 0.05)


@only_new
def test_a_held_message_is_delivered_or_denied(shared_home: Home, sid: str) -> None:
    """A message of a session in another mode is shown with what is offered, makes a wait exit 3 although our turn is
    over, and is denied or delivered as asked."""
    home, sender, receiver = shared_home, create(shared_home, "claude"), sid
    ok(home.cli("ask", receiver, "say ready"))
    switch_to(home, sender, "manual mode")
    found = re.search(r"\n +(\S+) \[\w+\] ", ok(home.cli("ask", sender, "call ListAgents {}")))
    assert found is not None
    message = json.dumps({"to": found[1], "message": "say theirs", "summary": "a message"})
    for answer in ("Deny — drop it and tell the sender it was declined", "2"):
        ok(home.cli("ask", sender, f"call SendMessage {message}"))
        asks = poll(lambda: ok(home.cli("status", receiver)) == "waiting_for_input\n" or None, Deadline(30), 0.1)
        assert asks
        shown = ok(home.cli("last-message", receiver))
        assert "say theirs" in shown
        assert shown.endswith("2. Deliver this message to Claude\n")
        named = details(home, receiver)
        assert (named["waitingFor"], named["options"]) == ("Held message from another session", 2)
        waited = home.cli("wait", receiver)
        assert (waited.returncode, waited.stdout) == (3, "waiting_for_input\n")
        respond(home, receiver, answer)
        if answer != "2":
            # Otherwise the next round could take this state for that of its own message.
            assert poll(lambda: state_of(home, receiver)["state"] == "idle" or None, Deadline(30), 0.05)
    assert poll(lambda: "[ASSISTANT]\ntheirs\n" in ok(home.cli("logs", receiver)) or None, Deadline(30), 0.1)
    assert poll(lambda: state_of(home, receiver)["state"] == "idle" or None, Deadline(30), 0.05)
    ok(home.cli("kill", sender))


@only_new
@pytest.mark.soak
def test_the_parts_of_a_reply_are_offered(shared_home: Home, sid: str) -> None:
    """/copy offers the parts of the last reply, if it has several."""
    home = shared_home
    ok(home.cli("ask", sid, "say this:\n\n```\nls\n```\n\nand\n\n```\npwd\n```\n"))
    shown = raise_dialog(home, sid, "/copy")
    assert shown.startswith("Copy response\n1. Full response - ")
    assert details(home, sid)["options"] == len(re.findall(r"(?m)^\d+\. ", shown)) > 2
    cancel(home, sid)


@only_new
def test_the_menu_of_a_usage_limit_is_answered(home: Home) -> None:
    """What can be done at a usage limit is shown, and chosen."""
    plan_of_user = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "made-up", "CLAUDE_CODE_MAX_RETRIES": "1"}
    sid = ok(home.cli("create", "-q", cwd=home.workspace(), env=plan_of_user)).strip()
    assert home.cli("ask", sid, "fail limit 3600").returncode == 1
    shown = raise_dialog(home, sid, "/rate-limit-options")
    assert shown.startswith(
        "What do you want to do?\n1. Stop and wait for limit to reset\n2. Don\u2019t continue automat"
    )
    respond(home, sid, "Don't continue automatically")
    assert ok(home.cli("status", sid)) == "idle\n"
    assert poll(lambda: "Continuing automatically" not in screen(home, sid) or None, Deadline(30), 0.05)


def test_interrupt_closes_a_dialog(shared_home: Home, sid: str) -> None:
    """interrupt ends a dialog as it ends a turn."""
    raise_dialog(shared_home, sid, "/theme")
    assert ok(shared_home.cli("interrupt", sid)) == f"Interrupted {sid}\n"
    assert ok(shared_home.cli("status", sid)) == "idle\n"
