"""Answering what Claude asks: its questions, and its requests for permission.

The keys are the same on every measured version; when they are taken differs. A question is drawn up to 0.6 s after the
session file says `waiting`, and keys that come before, or in the 0.2 s after, are lost without a trace. So every key
waits for what it acts on to be on the screen, and is looked for there afterwards. The proof is the transcript's.

Where the end of the model's message comes later than the call in it (10 ms are enough, 2.1.332), the program works on
the call before it writes it (2.1.100 to 2.1.332): a question stands on the screen alone, one of several at a time,
until all are answered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from functools import partial

from dev_sessions.claude.pane import LOOK, AgentPane
from dev_sessions.claude.transcript import ToolUse, visible
from dev_sessions.deadline import Deadline, poll
from dev_sessions.errors import DeliveryFailed
from dev_sessions.models import Pending, Question

#: Seconds for something to be drawn, and for a key to have an effect before it is taken for lost.
_DRAWN = 5.0
_TAKEN = 1.0
_PRESSES = 4
#: Seconds that a dialog is deaf after it was drawn (measured: 0.2). A key that is lost costs ten times as much.
_DEAF = 0.3
#: Seconds that the field for a text of one's own is deaf after it was opened or filled; nothing tells when it hears.
_FIELD = 0.3
_REVIEW = "Review your answers"
_FOOTER = "Enter to select"
_RULE = re.compile(r"^─{20,}$")
_BOX = re.compile(r"^\[.\] ")
_NUMBERED = re.compile(r"^\s*(?:❯\s*)?(\d+)\. (.+)$", re.MULTILINE)


def asked(tool: ToolUse) -> Pending:
    """The questions of an AskUserQuestion call."""
    raw = tool.input.get("questions") if isinstance(tool.input, dict) else None
    questions = tuple(_question(item) for item in raw if isinstance(item, dict)) if isinstance(raw, list) else ()
    return Pending("question", "; ".join(question.text for question in questions) or "a question", questions)


def _question(raw: dict[str, object]) -> Question:
    options = raw.get("options")
    return Question(
        str(raw.get("question", "")),
        tuple(
            (str(option.get("label", "")), str(option.get("description", "")))
            for option in (options if isinstance(options, list) else ())
            if isinstance(option, dict)
        ),
        multiple=raw.get("multiSelect") is True,
    )


def answer(
    pane: AgentPane, questions: Sequence[Question], answers: Sequence[list[int] | str], is_answered: Callable[[], bool]
) -> None:
    """Give one answer to each question: numbers of options, or free text.

    `is_answered` looks into the transcript. DeliveryFailed without its proof.
    """
    for question, given in zip(questions, answers, strict=True):
        _give(pane, question, given, is_answered)
    if len(questions) > 1 or questions[0].multiple:
        _await(pane, lambda screen: _REVIEW in screen or is_answered(), _REVIEW)
        _press_until(pane, "Enter", lambda screen: _REVIEW not in screen)
    if not poll(lambda: is_answered() or None, Deadline(_DRAWN), LOOK):
        raise DeliveryFailed(f"The answer was typed, but no proof of it came; look: {pane.attach}")


def answer_one(pane: AgentPane, question: Question, given: list[int] | str, is_answered: Callable[[], bool]) -> None:
    """Answer the question that is drawn. `is_answered` tells when all are; else another one has to be drawn then."""
    _give(pane, question, given, is_answered)

    def goes_on() -> bool:
        shown = pane.shown()
        return is_answered() or _REVIEW in shown or (drawn(shown) is not None and not _is_open(question, shown))

    if not poll(lambda: goes_on() or None, Deadline(_DRAWN), LOOK):
        raise DeliveryFailed(f"The answer was typed, but no proof of it came; look: {pane.attach}")
    if _REVIEW in pane.shown():
        _press_until(pane, "Enter", lambda screen: _REVIEW not in screen)
        if not poll(lambda: is_answered() or None, Deadline(_DRAWN), LOOK):
            raise DeliveryFailed(f"The answers were typed, but no proof of them came; look: {pane.attach}")


def drawn(screen: str) -> tuple[Question, int] | None:
    """The question that is drawn on a screen, and how many have no answer yet; None when none is drawn. Pure."""
    tabs, *lines = dialog(screen).split("\n")
    end = max((at for at, line in enumerate(lines) if _RULE.match(line)), default=len(lines))
    first = next((at for at, line in enumerate(lines) if re.match(r"^\s*(?:❯\s*)?1\. ", line)), None)
    if not re.search("[☐☒]", tabs) or first is None or first > end:
        return None
    rows: list[tuple[str, list[str]]] = []
    for line in lines[first:end]:
        if numbered := _NUMBERED.match(line):
            rows.append((numbered[2].strip(), []))
        elif line.strip():
            rows[-1][1].append(line.strip())
    text = " ".join(line.strip() for line in lines[:first] if line.strip())
    # The last one is the field for a text of one's own, and below it what goes on.
    choices = tuple((_BOX.sub("", label), " ".join(about)) for label, about in rows[:-1])
    multiple = any(_BOX.match(label) for label, _ in rows)
    return Question(text, choices, multiple=multiple), max(tabs.count("☐"), 1)


def asked_on_screen(screen: str) -> Pending | None:
    """What is asked, as far as a screen tells: of several questions the one that is drawn. Pure."""
    found = drawn(screen)
    if found is None:
        return None
    question, left = found
    later = Question("(another question, which is shown when the one before it is answered)")
    return Pending("question", question.text, (question, *[later] * (left - 1)))


def _give(pane: AgentPane, question: Question, given: list[int] | str, is_answered: Callable[[], bool]) -> None:
    """Put an answer to a question, and go on from it."""
    _await(pane, partial(_is_open, question), question.text)
    if isinstance(given, str):
        _open_field(pane, question)
        _type(pane, given)
        _leave(pane, question, is_answered)
    elif question.multiple:
        for number in given:
            _choose(pane, question, number)
        _leave(pane, question, is_answered)
    else:
        _press_until_gone(pane, str(given[0]), question, is_answered)


def decide(pane: AgentPane, number: int | None, is_decided: Callable[[], bool]) -> None:
    """Answer a request for permission with one of its options; None: deny it."""
    key = "Escape" if number is None else str(number)
    for presses in range(1, _PRESSES + 1):
        if number is not None:
            _await(pane, lambda screen: any(found == number for found, _ in options(screen)), f"option {number}")
        pane.press(key)
        if poll(lambda: is_decided() or None, Deadline(2 * _TAKEN), LOOK):
            _wipe(pane, key, presses)
            return
    raise DeliveryFailed(f"The dialog does not take the answer; look: {pane.attach}")


def options(screen: str) -> list[tuple[int, str]]:
    """The numbered options of the dialog that is drawn last on a screen. Pure."""
    found: list[tuple[int, str]] = []
    for number, label in _NUMBERED.findall(screen):
        if int(number) == 1:
            found = []
        if int(number) == len(found) + 1:
            found.append((int(number), label.strip()))
    return found


def request(screen: str) -> str:
    """What a request for permission says above its options. Pure."""
    lines = screen.split("\n")
    first = max((at for at, line in enumerate(lines) if re.match(r"^\s*(?:❯\s*)?1\. ", line)), default=len(lines))
    start = max((at for at, line in enumerate(lines[:first]) if re.match(r"^─{20,}$", line)), default=-1)
    said = (line.strip() for line in lines[start + 1 : first] if not re.match(r"^\s*╌+$", line))
    return "\n".join(line for line in said if line)


def _choose(pane: AgentPane, question: Question, number: int) -> None:
    """Press an option's digit until the option is marked: ticked where several may be, else under the cursor."""
    mark = re.compile(rf"^\s*(?:❯\s*)?{number}\. \[✔\]" if question.multiple else rf"^\s*❯\s*{number}\. ", re.MULTILINE)
    _press_until(pane, str(number), lambda screen: mark.search(screen) is not None)


def _open_field(pane: AgentPane, question: Question) -> None:
    """Put the cursor into the field for a text of one's own, which is the option after the last."""
    field = len(question.options) + 1
    if not question.multiple:
        _choose(pane, question, field)
        return
    # Where several may be chosen the digit ticks the field without going there (2.1.300), so the arrows have to.
    for _ in range(field + _PRESSES):
        at = _cursor(pane.shown())
        if at == field:
            return
        pane.press("Down" if at < field else "Up")
        poll(partial(_has_moved, pane, at), Deadline(_TAKEN), LOOK)
    raise DeliveryFailed(f"The field for an answer can't be reached; look: {pane.attach}")


def _cursor(screen: str) -> int:
    """The number of the option that the cursor is on; large below the options. Pure."""
    found = re.search(r"^\s*❯\s*(?:(\d+)\. |Submit)", dialog(screen), re.MULTILINE)
    if found is None:
        return 0
    return int(found[1]) if found[1] else 1000


def _has_moved(pane: AgentPane, before: int) -> bool | None:
    return _cursor(pane.shown()) != before or None


def _type(pane: AgentPane, text: str) -> None:
    """Type into the field of an answer, which is empty; a paste that comes too early is lost whole."""
    empty = dialog(pane.shown())
    for _ in range(_PRESSES):
        time.sleep(_FIELD)
        if dialog(pane.shown()) == empty:
            pane.paste(text)
        if poll(lambda: dialog(pane.shown()) != empty or None, Deadline(_TAKEN), LOOK):
            time.sleep(_FIELD)
            return
    raise DeliveryFailed(f"The field for the answer does not take a text; look: {pane.attach}")


def _leave(pane: AgentPane, question: Question, is_answered: Callable[[], bool]) -> None:
    """Go on from a question whose answer is on the screen."""
    if not question.multiple:
        _press_until_gone(pane, "Enter", question, is_answered)
        return
    for key in ("Tab", "Enter"):
        pane.press(key)
        if poll(lambda: not _is_open(question, pane.shown()) or None, Deadline(_TAKEN), LOOK):
            return
    raise DeliveryFailed(f"The question stays open after its answer was typed; look: {pane.attach}")


def _press_until_gone(pane: AgentPane, key: str, question: Question, is_answered: Callable[[], bool]) -> None:
    """Press a key until the question is no longer drawn as it was."""
    before = dialog(pane.shown())
    for presses in range(1, _PRESSES + 1):
        pane.press(key)
        if poll(lambda: is_answered() or dialog(pane.shown()) != before or None, Deadline(2 * _TAKEN), LOOK):
            _wipe(pane, key, presses)
            return
    raise DeliveryFailed(f"{question.text!r} does not take the answer; look: {pane.attach}")


def _wipe(pane: AgentPane, key: str, presses: int) -> None:
    """Take away what a busy machine took late: a number that was pressed again may have got into the input box."""
    strays = {key * count for count in range(1, presses)}
    deadline = Deadline(2 * _TAKEN if strays else 0)
    while not deadline.expired:
        if pane.box() in strays:
            pane.clear_box()
            return
        deadline.pause(LOOK)


def _is_open(question: Question, screen: str) -> bool:
    return visible(question.text) in visible(dialog(screen))


def dialog(screen: str) -> str:
    """The open question on a screen, from its row of tabs to its options; "" when none is drawn. Pure.

    The conversation above may hold the same words, so only what stands above the last footer counts.
    """
    above, footer, _ = screen.rpartition(_FOOTER)
    lines = above.split("\n")
    start = next((at for at in range(len(lines) - 1, -1, -1) if re.search(r"[☐☒](?! *\])", lines[at])), 0)
    return "\n".join(lines[start:]) if footer else ""


def _press_until(pane: AgentPane, key: str, is_done: Callable[[str], bool]) -> None:
    for _ in range(_PRESSES):
        if is_done(pane.shown()):
            return
        pane.press(key)
        if poll(lambda: is_done(pane.shown()) or None, Deadline(_TAKEN), LOOK):
            return
    raise DeliveryFailed(f"The dialog does not take the key {key}; look: {pane.attach}")


def _await(pane: AgentPane, is_drawn: Callable[[str], bool], what: str) -> None:
    if not poll(lambda: is_drawn(pane.shown()) or None, Deadline(_DRAWN), LOOK):
        raise DeliveryFailed(f"{what!r} is not on the screen, so nothing was pressed; look: {pane.attach}")
    time.sleep(_DEAF)
