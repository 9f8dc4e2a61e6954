"""Commands of Claude Code are sent only by their exact names; any other text arrives as a message."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dev_sessions.claude.message_text import PREAMBLE, original_text
from dev_sessions.claude.screen import box_text
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import MARKS, press, screen
from tests.support.cli import ok
from tests.support.forks import Ended, Forks
from tests.support.home import Home
from tests.support.model import ScriptedModel
from tests.support.original import create_ready_original

#: Each is the beginning of a command, which Enter would run, or opens a dialog.
BEGINNINGS = "/cl /ex /logo /comp /pr /rev /log /conf /hel /c /e /mo /res /Clear /CLEAR /clea /sub /deep /gre".split()
#: What people write of paths and routes; some are the beginning of a command.
PATHS = (
    "/api /data /app /src /lib /v1 /v2 /users /login-page /health /admin /docs /static /index /search /items /orders"
    " /auth /metrics /graphql /webhook /callback /public /images /assets /config-map /tests /build /dist /node_modules"
    " /workspace /project /repo /main /test /debugging /status-page /graph /re /st"
).split()
LONG_NAME = "a-name-of-more-than-a-row"
#: A picture of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
#: What the program itself writes in the user's name.
MARKUP = [
    "<task-notification>\n<task-id>b1</task-id>\n</task-notification>",
    "<command-message>foo</command-message>\n<command-name>/foo</command-name>",
    "[Image #1] is it red?",
]
MATRIX_MARKUP = ["<bash-input>ls</bash-input>"]
MORE_MARKUP = [
    "<task-notification> say x",
    "<command-name>/clear</command-name> hi",
    "<bash-stdout>x</bash-stdout>",
    "<local-command-stdout>x",
    "<user-memory-input>x",
    "[Request interrupted by user] hm",
    "Unknown command: /foo",
    f"{PREAMBLE}\nsay hi",
]


class Session:
    """A session of Claude, `sid` or a new one, with what tests observe of it."""

    def __init__(self, home: Home, forks: Forks, sid: str | None = None) -> None:
        self.home, self.forks = home, forks
        self.sid = sid or self.ran("create", "-q").strip()

    def ran(self, *args: str, stdin: str = "") -> str:
        """Run a command that must succeed; return its output."""
        done = self.forks.cli(*args, stdin=stdin)
        assert (done.code, done.stderr) == (0, ""), done
        return done.stdout

    def send(self, text: str) -> Ended:
        """Send a text."""
        return self.forks.cli("send", self.sid, "--json", "--file", "-", stdin=text)

    def receipt(self, text: str) -> str:
        """Send a text; return the state in its receipt."""
        state: str = json.loads(self.ran("send", self.sid, "--json", "--file", "-", stdin=text))["state"]
        return state

    def ask(self, text: str) -> str:
        """Return the reply to a text, without its line end."""
        return self.ran("ask", self.sid, "--file", "-", stdin=text)[:-1]

    def said(self) -> list[str]:
        """Return the user's messages in the logs."""
        return [turn["text"] for turn in json.loads(self.ran("logs", self.sid, "--json")) if turn["role"] == "human"]

    def box(self) -> str | None:
        """Return the text in the input box."""
        return box_text(ok(self.home.tmux("capture-pane", "-e", "-p", "-t", f"=dev-{self.sid}:")))

    def traces(self) -> tuple[object, ...]:
        """Return Claude's conversations, states, working directory and input box: whatever runs changes one of them."""
        claude = self.home.path / ".claude"
        written = {
            str(file): len(re.findall(rb'"type":"(?:user|assistant|system|queue-operation)"', file.read_bytes()))
            for file in (claude / "projects").rglob("*.jsonl")
        }
        return written, self.states(), sorted(self.home.workspace().iterdir()), self.box()

    def writes_the_end(self) -> None:
        """Wait until the mark of a turn's end is written, which on a busy machine comes after the reply was read."""
        files = (self.home.path / ".claude" / "projects").rglob
        assert poll(
            lambda: any(b"turn_duration" in file.read_bytes() for file in files("*.jsonl")) or None, Deadline(30)
        )

    def states(self) -> list[tuple[str, str]]:
        """Return the conversation and the status of each Claude that runs."""
        files = sorted((self.home.path / ".claude" / "sessions").glob("*.json"))
        return [(record["sessionId"], record["status"]) for record in (json.loads(file.read_text()) for file in files)]


@pytest.fixture(scope="module")
def _session(_home_of_module: Home) -> Iterator[Session]:
    commands = _home_of_module.workspace() / ".claude" / "commands"
    (commands / "sub").mkdir(parents=True)
    for name in ("greet", LONG_NAME, "v1.2", "sub/deep", "gr\u00fc\u00df"):
        (commands / f"{name}.md").write_text(f"say {name} got $ARGUMENTS")
    for name in ("a.png", "b c.png", "gr\u00f6\u00dfe.jpg"):
        (_home_of_module.workspace() / name).write_bytes(PIXEL)
    with Forks(_home_of_module) as forks:
        yield Session(_home_of_module, forks)


@pytest.fixture
def session(_session: Session, model: ScriptedModel) -> Session:
    """Provide the session of Claude that these tests share."""
    model.forget()
    model.hold()
    return _session


def refused(session: Session, text: str) -> str:
    """Send a text that must be refused; return the reason without the common beginning."""
    done = session.send(text)
    begins = f"The message for {session.sid} was not sent, nothing was typed: "
    assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done
    assert done.stderr.startswith(begins)
    return done.stderr.removeprefix(begins)


@pytest.mark.parametrize("step", [pytest.param(11, id="sample"), pytest.param(1, id="all", marks=pytest.mark.soak)])
def test_a_command_prefix_runs_nothing(session: Session, model: ScriptedModel, step: int) -> None:
    """A mistyped command, or a word that begins with a slash, is an error; nothing runs, and nothing stays in the
    box."""
    assert session.ask("say before") == "before"
    session.writes_the_end()
    before = session.traces()
    for text in (*BEGINNINGS, *PATHS)[::step]:
        if Path(text).exists():
            continue
        name = f"Claude Code has no command {text} in {session.sid}; to send it as a message, put a word before it\n"
        assert refused(session, text) == name
        assert session.traces() == before, text
    for text in ("/cl now", " /ex", "\u2060/cl", "/\u200dlogo"):
        assert "Claude Code has no command /" in refused(session, text)
        assert session.traces() == before, text
    assert session.ask("history") == "1: say before"
    assert len(model.turns()) == 2


@pytest.mark.soak
def test_no_prefix_of_any_command_runs_anything(session: Session, model: ScriptedModel) -> None:
    """Every prefix of a command that the program lists is an error, unless it is a command itself."""
    assert session.ask("say before") == "before"
    session.writes_the_end()
    before = session.traces()
    names = listed(session)
    assert {"clear", "exit", "model", "greet", "sub:deep"} <= names
    assert session.traces() == before
    beginnings = {name[:end] for name in names for end in range(1, len(name))} - names
    for beginning in sorted(beginnings):
        # A path is a message, and whether it has a command with other letters the program finds out by itself.
        if not beginning.isascii() or "." in beginning or Path(f"/{beginning}").exists():
            continue
        assert f"Claude Code has no command /{beginning} in" in refused(session, f"/{beginning}")
        assert session.traces() == before, beginning
    assert session.ask("history") == "1: say before"
    assert len(model.turns()) == 2


def listed(session: Session) -> set[str]:
    """Return the commands in the program's menu, from one end to the other."""
    names: set[str] = set()
    press(session.home, session.sid, "/")
    while found := poll(partial(in_menu, session, names), Deadline(5), 0.05):
        names |= found
        press(session.home, session.sid, *["Down"] * 4)
    press(session.home, session.sid, "C-u")
    assert poll(lambda: session.box() == "" or None, Deadline(30), 0.05)
    return names


def in_menu(session: Session, names: set[str]) -> set[str] | None:
    """Return the commands in the visible part of the menu, without the given ones."""
    found = re.findall(r"^\s{1,4}(?:❯ )?/(\S+)", screen(session.home, session.sid), re.MULTILINE)
    return set(found) - names or None


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        pytest.param("/greet me", "greet got me", marks=pytest.mark.matrix),
        ("\u2060 /greet  me \n", "greet got me"),
        ("/greet", "greet got "),
        ("/greet see @a.p", "greet got see @a.p"),
        pytest.param("/greet :smi", "greet got :smi", marks=pytest.mark.matrix),
        ("/greet a\\", "greet got a\\"),
        ("/greet " + "long " * 300 + "end", "greet got " + "long " * 300 + "end"),
        ("/v1.2", "v1.2 got "),
        ("/sub:deep x", "sub/deep got x"),
        ("/gr\u00fc\u00df x", "gr\u00fc\u00df got x"),
    ],
    ids=lambda text: text[:20],
)
def test_a_command_runs_by_its_name(session: Session, text: str, reply: str) -> None:
    """A command of any name runs with exactly the arguments that were sent, and its turn is waited for."""
    assert session.receipt(text) == "command"
    assert session.ran("wait", session.sid) == "completed\n"
    assert session.ran("last-message", session.sid).strip() == reply.strip()


def test_a_command_runs_by_its_alias(session: Session) -> None:
    """The program writes `/list-agents` for all names of that command; a command with output only has the state
    `command`."""
    for text in ("/peers", "/list-agents", "/release-notes"):
        assert session.receipt(text) == "command"
        assert session.ran("wait", session.sid) == "completed\n"


SLASHES = ["/", "/usr", "/etc is full", "/v1.3", "/cl,", "/pr\u00fcfen"]
MORE_SLASHES = ["/README.md", "/app.py is broken", "/2fa"]
OTHERS = ["/greet\nme", "/clear\u2028all", "say :smi", "say @a.p", "\u2060!ls"]
MORE_OTHERS = ["say use /cl", "!ls"]


@pytest.mark.parametrize(
    "text",
    [
        *(*SLASHES, *OTHERS),
        *(pytest.param(text, marks=pytest.mark.matrix) for text in (*MORE_SLASHES, *MORE_OTHERS)),
    ],
    ids=ascii,
)
def test_texts_that_are_no_commands_arrive(session: Session, model: ScriptedModel, text: str) -> None:
    """A path, a text of several lines, and a last word that the program would complete arrive as they were written."""
    assert session.receipt(text) == "submitted"
    assert session.ran("wait", session.sid) == "completed\n"
    expected = text.replace("\u2028", "\n").replace("\u2060", "")
    assert original_text(model.last_text(), marked=MARKS).strip() == expected
    assert session.said()[-1].strip() == expected


def test_a_working_session_queues_only_known_commands(session: Session, model: ScriptedModel) -> None:
    """During a turn, a known command is queued or opens its dialog at once, and an unknown one is an error at once."""
    session.ran("send", session.sid, "when told say done")
    assert "Claude Code has no command /cl in" in refused(session, "/cl")
    assert session.box() == ""
    assert session.receipt("/greet me") == "queued"
    assert session.receipt("/usr") == "queued"
    model.allow("told")
    assert session.ran("wait", session.sid) == "completed\n"
    assert json.loads(session.ran("last-message", session.sid, "-n", "3", "--json")) == [
        "done",
        "greet got me",
        "echo: /usr",
    ]
    session.ran("send", session.sid, "when told2 say done")
    assert session.receipt("/cost") == "command"
    press(session.home, session.sid, "Escape")
    assert poll(lambda: session.box() == "" or None, Deadline(30), 0.05)
    before = json.loads(session.ran("inspect", session.sid))["internalId"]
    assert session.receipt("/clear") == "queued"
    model.allow("told2")
    assert session.ran("wait", session.sid) == "completed\n"
    assert "when told say done" not in session.ask("history")
    assert json.loads(session.ran("inspect", session.sid))["internalId"] != before


def test_a_small_terminal_hides_no_command(session: Session) -> None:
    """Commands are recognised even if the program shows pasted lines as a placeholder and a name takes two rows."""
    pane = ("-t", f"=dev-{session.sid}:")
    ok(session.home.tmux("resize-window", *pane, "-x", "22", "-y", "9"))
    try:
        assert poll(lambda: session.box() == "" or None, Deadline(30), 0.05)
        assert f"Claude Code has no command /{LONG_NAME[:-1]} in" in refused(session, f"/{LONG_NAME[:-1]}")
        assert session.receipt(f"/{LONG_NAME} you and me") == "command"
        assert session.ran("wait", session.sid) == "completed\n"
        assert session.ran("last-message", session.sid) == f"{LONG_NAME} got you and me\n"
    finally:
        ok(session.home.tmux("resize-window", *pane, "-x", "200", "-y", "50"))


def test_without_colours_the_program_is_asked(home: Home, model: ScriptedModel) -> None:
    """With NO_COLOR, commands can be sent to an idle session, and the program's answer tells which it does not have.

    A working session answers too late, so nothing is sent to it.
    """
    sid = create_ready_original(home, "zed-mid", variables=("NO_COLOR=1",))
    with Forks(home) as forks:
        session = Session(home, forks, sid)
        assert "Claude Code has no command /cl in" in refused(session, "/cl")
        assert session.receipt("/context") == "command"
        assert session.ran("wait", session.sid) == "completed\n"
        session.ran("send", session.sid, "when told say done")
        assert poll(lambda: session.states()[0][1] == "busy" or None, Deadline(30), 0.02)
        assert (
            f"it has a command /context; send it when the turn is over: dev-sessions wait {session.sid}\n"
            in refused(session, "/context")
        )
        assert session.box() == ""
        model.allow("told")
        assert session.ran("wait", session.sid) == "completed\n"


@pytest.mark.parametrize(
    "text",
    [
        *MARKUP,
        *(pytest.param(text, marks=pytest.mark.matrix) for text in MATRIX_MARKUP),
        *(pytest.param(text, marks=pytest.mark.soak) for text in MORE_MARKUP),
    ],
    ids=lambda text: text[:20],
)
def test_a_message_that_looks_like_the_programs_own_arrives(session: Session, model: ScriptedModel, text: str) -> None:
    """A message that looks like markup is proved, waited for, answered and logged, in an idle and in a working
    session."""
    reply = "background work done" if text.startswith("<task-notification>") else f"echo: {text}"
    assert session.receipt(text) == "submitted"
    assert session.ran("wait", session.sid) == "completed\n"
    assert session.ran("last-message", session.sid) == f"{reply}\n"
    session.ran("send", session.sid, "when told say done")
    assert session.receipt(text) == "queued"
    model.allow("told")
    assert session.ran("wait", session.sid) == "completed\n"
    assert json.loads(session.ran("last-message", session.sid, "-n", "2", "--json")) == ["done", reply]
    assert session.said()[-3:] == [text, "when told say done", text]


def test_the_path_of_an_image_arrives_as_the_image(session: Session, model: ScriptedModel) -> None:
    """A message that is only an image's path, also quoted or with spaces, is proved to arrive: idle, after a turn, and
    during a tool call."""
    folder = session.home.workspace()
    for text, names in (
        (f"{folder}/a.png", ["a.png"]),
        (f"'{folder}/a.png'", ["a.png"]),
        (f"{folder}/b c.png", ["b c.png"]),
        (f'"{folder}/b c.png"', ["b c.png"]),
        (f"{folder}/a.png {folder}/b\\ c.png", ["a.png", "b c.png"]),
        (f"{folder}/gr\u00f6\u00dfe.jpg", ["gr\u00f6\u00dfe.jpg"]),
    ):
        assert session.receipt(text) == "submitted"
        assert session.ran("wait", session.sid) == "completed\n"
        assert all(f"[Image: source: {folder}/{name}]" in user_texts(model) for name in names)
        assert "[Image #" in session.said()[-1]
    session.ran("send", session.sid, "when told say done")
    assert session.receipt(f"{folder}/a.png") == "queued"
    model.allow("told")
    assert session.ran("wait", session.sid) == "completed\n"
    assert session.ran("last-message", session.sid) == f"echo: [Image: source: {folder}/a.png]\n"
    session.ran("send", session.sid, "run until test -e go; do sleep 0.05; done; echo out")
    assert session.receipt(f"{folder}/a.png") == "queued"
    (folder / "go").touch()
    assert session.ran("wait", session.sid) == "completed\n"


def user_texts(model: ScriptedModel) -> str:
    """Return all texts of the last request that the model got."""
    return json.dumps(model.turns()[-1].body["messages"], ensure_ascii=False)


def test_a_text_that_only_mentions_an_image_stays_a_text(session: Session, model: ScriptedModel) -> None:
    """A path that does not exist, one among other lines, and a bare name arrive as they were written, without delay."""
    folder = session.home.workspace()
    for text in (f"{folder}/none.png", f"{folder}/a.png\nsay what", "a.png", f"is {folder}/a.png or b.png right?"):
        assert session.receipt(text) == "submitted"
        assert session.ran("wait", session.sid) == "completed\n"
        assert original_text(model.last_text(), marked=MARKS).strip() == text


@pytest.mark.parametrize("text", ["\u200d", "\u2060", "\ufe0f", "\u3164", "\U000e0041", " \u200d\n\u2063\u180e "])
def test_an_invisible_message_is_refused(session: Session, text: str) -> None:
    """A message without visible characters is refused at once, with the reason, before anything is typed."""
    assert refused(session, text) == "The message has no visible characters; write it as text\n"
    assert session.box() == ""


@pytest.mark.parametrize("text", ["/exit foo", "/quit please", " /exit x", "/logout", "ex\u2060it", "\u200d/quit"])
def test_a_command_that_ends_the_program_is_not_sent(session: Session, text: str) -> None:
    """A command that ends Claude is refused, also with arguments or invisible characters; the session stays alive."""
    assert "ends Claude Code; use dev-sessions kill for that" in refused(session, text)
    assert session.ran("status", session.sid) == "idle\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("send", "/clear"),
        pytest.param("send", "exit", marks=pytest.mark.matrix),
        ("send", "!touch hacked"),
        pytest.param("send", "a\\", marks=pytest.mark.matrix),
        ("respond", "/cl"),
        ("respond", "a\\"),
    ],
)
def test_an_answer_is_always_a_text(session: Session, command: str, text: str) -> None:
    """An answer to a question, by `send` or `respond`, is never run as a command."""
    before = json.loads(session.ran("inspect", session.sid))["internalId"]
    done = session.forks.cli("ask", session.sid, "ask Which colour? | red | blue")
    assert (done.code, done.stdout, done.stderr) == (3, "waiting_for_input\n", "")
    done = session.forks.cli(command, session.sid, "--", text)
    assert (done.code, "the message answered it" in done.stderr) == (0, command == "send")
    assert session.ran("wait", session.sid) == "completed\n"
    assert session.ran("last-message", session.sid).strip() == f"answered: {text}"
    assert json.loads(session.ran("inspect", session.sid))["internalId"] == before
    assert not (session.home.workspace() / "hacked").exists()
