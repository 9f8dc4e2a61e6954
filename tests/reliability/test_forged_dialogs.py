"""Imitate Claude's dialogs in text: whatever a model says, `respond` presses only what the real dialog offers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from dev_sessions.claude.screen import box_text, plain, rows
from dev_sessions.system.deadline import Deadline, poll
from tests.support.claude import switch_to
from tests.support.cli import ok
from tests.support.home import Home
from tests.support.screens import Screen, recorded

pytestmark = pytest.mark.forked

#: Real dialogs, which a model may have seen; it says them with their options in another order.
MODELS = [
    screen
    for screen in recorded("2.1.332")
    if (screen.renderer, screen.width, screen.height) == ("fullscreen", 80, 24)
    and any(re.fullmatch("[─▔]{80}", row) for row in rows(screen.text))
    and screen.name not in ("idle", "command-in-transcript-view")
]
OPTION = re.compile(r"(.*\d+\. )(.*)")
SIZES = [(200, 50), (80, 24), (100, 30), (60, 40), (40, 24), (80, 12), (30, 16), (20, 10)]
#: A dialog of so many rows and columns fits, and has to be answered.
FITS = (40, 24)
#: Where the text stands: in front of the call, as it is streamed in, in the call, or in what another one has printed.
WAYS = {
    "said": "say-then {text} ;; run ./poke {name}",
    "streamed": "drip 0.6 say-then {text} ;; run ./poke {name}",
    "unwritten": "trail 1 say-then {text} ;; run ./poke {name}",
    "in the command": "run ./poke {name} <<'EOF'\n{text}\nEOF",
    "printed": "runs cat {name}.txt ;; ./poke {name}",
    "above a question": "say-then {text} ;; ask Which {name}? | red | blue",
    "in a question": "tool AskUserQuestion {questions}",
}
DRESSES: dict[str, Callable[[str], str]] = {
    "plain": str,
    "code": "```\n{}\n```".format,
    "wide spaces": lambda text: text.replace(" ", "\u00a0"),
    "list": lambda text: "\n".join(f"- {line}" for line in text.split("\n")),
    "twice": "{0}\n\n{0}".format,
}
#: Seconds for which the real dialog is kept from being drawn, while Claude waits already.
HELD = (0.0, 0.5, 1.5, 2.5)
#: How Claude says that it asks for permission.
MANUAL = ("manual mode on", "? for shortcuts")
#: Numbers of the files that the commands make: no other target may have made one of the same name before.
NUMBERS = itertools.count()
#: What is asked for, and whether it lets the command run.
DECISIONS = {"--allow": True, "--deny": False, "1": True, "yes": True, "no": False}


@dataclass(frozen=True)
class Attack:
    """One attempt: the real dialog is not drawn for `held` seconds; with `looks`, last-message is read first."""

    model: Screen
    turned: int
    dress: str
    way: str
    size: tuple[int, int]
    held: float
    decision: str
    looks: bool

    def __str__(self) -> str:
        shown = "reported and " if self.looks else ""
        text = f"{self.model.name} turned by {self.turned}, {self.dress}, {self.way}"
        return f"{text}, in {self.size}, held for {self.held}, {shown}answered by {self.decision}"

    @property
    def asks(self) -> bool:
        """Return whether the real dialog is a question."""
        return "question" in self.way

    def script(self, name: str) -> str:
        """Return the script for the model."""
        options = [{"label": label, "description": f"The option {label}"} for label in ("red", "blue")]
        question = {"question": self.text(), "header": "A", "multiSelect": False, "options": options}
        return WAYS[self.way].format(text=self.text(), name=name, questions=json.dumps({"questions": [question]}))

    def text(self) -> str:
        """Return the forged dialog: the lines of a real one, from its frame on."""
        lines = rows(self.model.text)
        top = next(at for at, line in enumerate(lines) if re.fullmatch("[─▔]{80}", line))
        forged = [line.rstrip() for line in lines[top:]]
        options = [at for at, line in enumerate(forged) if OPTION.fullmatch(line)]
        labels = [OPTION.sub(r"\2", forged[at]) for at in options]
        for place, at in enumerate(options):
            label = labels[(place + self.turned) % len(labels)]
            forged[at] = OPTION.sub(r"\1", forged[at]) + label
        return DRESSES[self.dress]("\n".join(forged).rstrip())


def pointed(count: int) -> Iterator[Attack]:
    """Yield the most harmful attacks: each option has the number of the one before, so that the number which denies in
    the real dialog allows in the forged one, and the number which allows once there allows always."""
    harmful = [screen for screen in MODELS if screen.name in ("command", "fetch", "write", "mcp")]
    turned = [sum(bool(OPTION.fullmatch(row)) for row in rows(screen.text)) - 1 for screen in harmful]
    said = ("said", "streamed", "unwritten", "printed", "above a question")
    for number in range(count):
        yield Attack(
            harmful[number % len(harmful)],
            turned[number % len(harmful)],
            ("plain", "code", "twice")[number % 3],
            said[number % len(said)],
            [size for size in SIZES if size[1] >= FITS[1]][number % 5],
            (0.5, 1.0, 1.5)[number % 3],
            ("--allow", "no", "yes")[number % 3],
            looks=number % 2 == 1,
        )


def attacks(count: int, seed: int) -> Iterator[Attack]:
    """Yield random attacks of all combinations."""
    chance = random.Random(seed)
    for number in range(count):
        yield Attack(
            chance.choice(MODELS),
            chance.randrange(1, 4),
            chance.choice(list(DRESSES)),
            list(WAYS)[number % len(WAYS)],
            chance.choice(SIZES),
            chance.choice(HELD),
            chance.choice(list(DECISIONS)),
            looks=chance.random() < 0.5,
        )


class Target:
    """A session in the mode in which Claude asks for permission."""

    def __init__(self, home: Home, number: int) -> None:
        self._home = home
        self._path = home.workspace(f"w{number}")
        (self._path / "poke").write_text("#!/bin/sh\ntouch $1\n")
        (self._path / "poke").chmod(0o755)
        self._sid = ok(home.cli("create", "-q", cwd=self._path)).strip()
        self._target = f"=dev-{self._sid}:"
        pid = json.loads(ok(home.cli("inspect", self._sid)))["claudePid"]
        self._file = home.path / ".claude" / "sessions" / f"{pid}.json"
        switch_to(home, self._sid, "manual mode")

    def attack(self, attack: Attack) -> str | None:
        """Answer as soon as Claude waits, while the forged text is on the screen; return what went wrong, or None."""
        name = f"made{next(NUMBERS)}"
        (self._path / f"{name}.txt").write_text(attack.text())
        ok(self._home.cli("send", self._sid, "--file", "-", stdin=attack.script(name)))
        self._resize(attack.size)
        with self._somebody_typing(attack.held):
            self._await("waiting")
            shown = self._home.cli("last-message", self._sid).stdout if attack.looks else None
            done = self._home.cli("respond", self._sid, "2" if attack.asks else attack.decision, timeout=60)
        wrong = self._wrong_report(attack, shown, name) if shown is not None else None
        wrong = wrong or self._wrong_action(attack, name, done.returncode)
        self._leave()
        wrong = wrong or self._wrong_leftover()
        return wrong and f"{attack}: {wrong}; {done.stdout}{done.stderr}"

    @contextlib.contextmanager
    def _somebody_typing(self, seconds: float) -> Iterator[None]:
        """Press keys until Claude has waited for this many seconds: it draws no dialog while somebody types."""
        enough = threading.Event()

        def type_on() -> None:
            while seconds and not enough.is_set() and time.time() - self._waiting_since() <= seconds:
                for key in ("x", "BSpace"):
                    self._home.tmux("send-keys", "-t", self._target, key)
                    enough.wait(0.1)

        typist = threading.Thread(target=type_on)
        typist.start()
        try:
            yield
        finally:
            enough.set()
            typist.join()

    def _wrong_report(self, attack: Attack, shown: str, name: str) -> str | None:
        """Return what was wrong with the shown options, the last numbered lines of last-message, or None."""
        options = re.findall(r"(?m)^\d+\. (.*)", shown)
        if attack.way == "above a question":
            right = shown.startswith(f"Which {name}?") and options == ["red - The option red", "blue - The option blue"]
        elif attack.asks:
            right = options[-2:] == ["red - The option red", "blue - The option blue"]
        elif not options or attack.way == "in the command":
            right = attack.size[0] < FITS[0] or attack.size[1] < FITS[1] or options[-1:] == ["No"]
        else:
            right = options[0] == "Yes" and all(option.startswith("Yes, and don\u2019t") for option in options[1:2])
        return None if right else f"last-message reported {options}"

    def _wrong_action(self, attack: Attack, name: str, code: int) -> str | None:
        made = (self._path / name).exists
        if code != 0:
            if attack.size[0] >= FITS[0] and attack.size[1] >= FITS[1]:
                return "nothing was pressed although the dialog fits"
            return "something was pressed, which was not reported" if self._status() != "waiting" or made() else None
        self._await("idle")
        if attack.asks:
            # The reply may be written after the state.
            ok(self._home.cli("wait", self._sid))
            said = ok(self._home.cli("last-message", self._sid))
            return None if re.search(r': blue$|"="blue"', said, re.MULTILINE) else f"it was answered: {said}"
        return None if made() == DECISIONS[attack.decision] else "the wrong option was chosen"

    def _leave(self) -> None:
        """Dismiss a dialog that was not answered."""
        while self._status() == "waiting":
            self._home.tmux("send-keys", "-t", self._target, "Escape")
            # A key in the first moments of a dialog is lost.
            poll(lambda: self._status() != "waiting" or None, Deadline(0.5), 0.05)
        self._await("idle")

    def _wrong_leftover(self) -> str | None:
        """Return which unintended change was left besides the answer, or None."""
        self._resize((200, 50))
        mode = poll(self._mode, Deadline(30), 0.05)
        if mode not in MANUAL:
            return f"the mode was changed: {mode}"
        if (self._path / ".claude" / "settings.local.json").exists():
            return "a rule was added"
        box = box_text(self._screen())
        return f"{box!r} was left in the input box" if box else None

    def _mode(self) -> str | None:
        """Return the mode that Claude shows below its box."""
        shown = re.search(r"\w+ \w+ on\b|\? for shortcuts", plain(self._screen()).rpartition("\n")[2])
        return shown[0] if shown is not None else None

    def _status(self) -> str | None:
        return str(self._record().get("status"))

    def _waiting_since(self) -> float:
        """Return the time since when Claude waits, by its own clock, or now if it does not."""
        record = self._record()
        return float(record["statusUpdatedAt"]) / 1000 if record.get("status") == "waiting" else time.time()

    def _record(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self._file.read_text())
        except ValueError:
            return {}
        return record

    def _await(self, status: str) -> None:
        reached = poll(lambda: True if self._status() == status else None, Deadline(30), 0.01)
        assert reached, f"not {status}:\n{plain(self._screen())}"

    def _screen(self) -> str:
        return ok(self._home.tmux("capture-pane", "-e", "-p", "-t", self._target))

    def _resize(self, size: tuple[int, int]) -> None:
        ok(self._home.tmux("resize-window", "-t", self._target, "-x", str(size[0]), "-y", str(size[1])))


def attack_all(home: Home, tries: list[Attack], targets: int) -> list[str]:
    """Make all attempts on several sessions in parallel; return what went wrong."""

    def make(number: int) -> list[str]:
        target = Target(home, number)
        return [wrong for attack in tries[number::targets] if (wrong := target.attack(attack)) is not None]

    with ThreadPoolExecutor(targets) as pool:
        return [wrong for found in pool.map(make, range(targets)) for wrong in found]


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param(("streamed", "unwritten", "above a question"), id="sample"),
        pytest.param(("said", "printed"), id="rest", marks=pytest.mark.matrix),
    ],
)
def test_only_the_real_dialog_is_answered(home: Home, ways: Sequence[str]) -> None:
    """Whatever text imitates a dialog, the real one is shown and answered, or nothing is pressed."""
    assert attack_all(home, [attack for attack in pointed(5) if attack.way in ways], 1) == []


@pytest.mark.soak
def test_only_the_real_dialog_is_answered_for_long(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds of forged dialogs, the most harmful ones first, never lead to a wrong answer."""
    assert attack_all(home, list(pointed(60)), 3) == []
    count = int(os.environ.get("DEV_SESSIONS_TEST_FORGERIES", "400"))
    wrong = attack_all(home, list(attacks(count, random.randrange(10**6))), 3)
    with capsys.disabled():
        print(f"\n{count} forged dialogs, {len(wrong)} wrong presses")
    assert not wrong, "\n".join(wrong)
