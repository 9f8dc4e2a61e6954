"""Read Claude's dialogs from the screen. Pure.

Measured on 2.1.250 and 2.1.332, in both of their renderers, with 20 to 200 columns and 10 to 50 rows:

* A dialog replaces the input box, below a rule across the whole screen (`─`, of some dialogs `▔`). If it is higher than
  the screen, its upper part is cut off, and a long list of options is shown in part.
* The terminal's cursor, which is hidden, is on the `❯` before the selected option, or in the text field that has the
  focus. Without a dialog it is in the input box. In a question with previews, and on the row below a question's
  options, it is at the end of the screen.
* An option's description has the colour of its number, and its label another one. Below a wrapped label only that
  tells where the description begins.
* Texts of a model or a user are wrapped, indented by two columns, and shown without control characters: they may look
  like a dialog, but never reach the first column nor move the cursor. Only a user's message has a `❯` in the first
  column. Inside a dialog, the model's text (a command, a file, a plan) is above the options.

    ────────────────────────────────────────────────────────────
     Bash command
     …
     Do you want to proceed?
     ❯ 1. Yes
       2. Yes, and don't ask again for: npm test *
       3. No

     Esc to cancel · Tab to amend
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from dev_sessions.claude import screen as screens
from dev_sessions.claude.message_text import visible
from dev_sessions.models import Question
from dev_sessions.system.fast_dataclass import fast_dataclass

_MARKER = r"( *)❯ "
_NUMBERED = r"([❯↑↓ ]) ( ?\d+)\. ?(.*)$"
_TABS = r"(?: |← +)[☐☒]"
_HIDDEN_ROWS = r"\s*(?:[↑↓…] ?)?\+?\d+ more\b"
_CHECKBOX = r"\[(.)\] ?"
#: A box that is wrapped with its label on a narrow screen (2.1.250); its `]` begins the next line.
_WRAPPED_CHECKBOX = r"\[(.) "
#: From the space between an option's label and its preview on.
_PREVIEW = r"\s+[┌│└].*"
#: The upper edge of a preview's frame.
_PREVIEW_TOP = r"\s┌─"
#: Categories of characters that modify the one before them.
_OFTEN_LOST = frozenset({"Cf", "Mn", "Me", "Sk"})
_SEPARATOR = r"\s*[╌─]+$"
_KEY_HINT = "Enter to select"
_SUBMIT_LABEL = "Submit answers"
#: The least indentation of text in a field, below its first row.
_FIELD_INDENT = 5
#: Labels of options that allow this one action and nothing more.
_ALLOW_ONCE_LABELS = frozenset(
    {
        "Yes",
        "Allow once",
        "Yes, but ask again next time",
        "Yes, enter plan mode",
        "Yes, manually approve edits",
        "Yes, and switch to default (ask each time) for this session",
    }
)
#: Labels of options that deny this one action.
_DENY_ONCE_LABEL = r"No|Deny|(?:No|Deny), and tell Claude what to do differently(?: \(esc\))?|No, keep planning"


@fast_dataclass(frozen=True)
class Option:
    """An option of a dialog. `number` is its digit, or its position if it has none; `checked` is None without a box."""

    number: int
    label: str
    description: str = ""
    checked: bool | None = None


@fast_dataclass(frozen=True)
class Dialog:
    """A dialog on the screen, as far as it is visible.

    `tabs` is the row of a question's tabs, or "". `below` are the options below a question's own.
    `selected` is the number of the selected option, 0 if something else is selected. `in_field`: the cursor is in a
    text field, where digits are text. `is_complete`: nothing of the dialog is hidden.
    `rows` are its rows on the screen, and `cursor` is the position of the terminal's cursor (column, row).
    """

    tabs: str
    text: str
    options: tuple[Option, ...]
    below: tuple[Option, ...]
    selected: int
    numbered: bool
    in_field: bool
    is_complete: bool
    rows: tuple[str, ...]
    cursor: tuple[int, int]

    @property
    def identity(self) -> tuple[str, ...]:
        """Return a key that differs between two dialogs, but not with what is selected or typed in one."""
        # The first option of a request changes its label when Tab is pressed on it.
        labels = (option.label for option in self.options[:-1]) if self.is_question else ()
        return self.tabs, self.text, *labels

    @property
    def is_question(self) -> bool:
        """Return whether a model asks its user in it, by its tabs and the options below."""
        return bool(self.tabs or self.below)

    @property
    def is_review(self) -> bool:
        """Return whether it shows the answers to several questions, to be submitted."""
        return not self.below and self.options[0].label == _SUBMIT_LABEL

    def is_checked(self, number: int) -> bool:
        """Return whether the option of this number is checked."""
        return any(option.checked for option in self.options if option.number == number)

    @property
    def allow_once_option(self) -> Option | None:
        """The option that allows the action once and nothing more; None if there is none, or more than one."""
        return self._only([option for option in self.options if _normalized(option.label) in _ALLOW_ONCE_LABELS])

    @property
    def deny_once_option(self) -> Option | None:
        """The option that denies the action once; None if there is none, or more than one."""
        return self._only(
            [option for option in self.options if re.fullmatch(_DENY_ONCE_LABEL, _normalized(option.label))]
        )

    @property
    def question(self) -> tuple[Question, int] | None:
        """The question, and the number of unanswered questions; None if it is not a question or partly hidden."""
        if not self.tabs or not self.below or not self.is_complete:
            return None
        # The last option is the text field.
        choices = tuple((option.label, option.description) for option in self.options[:-1])
        multiple = self.options[-1].checked is not None
        return Question(" ".join(self.text.split()), choices, multiple=multiple), max(self.tabs.count("☐"), 1)

    def shows(self, question: Question) -> bool:
        """Return whether it asks this question, as far as it is visible."""
        shown, text = visible(self.text), visible(question.text)
        if text not in shown and (self.tabs or not text.endswith(shown)):
            return False
        seen = [option for option in self.options if option.number <= len(question.options)]
        return bool(self.options) and all(_shows(option, *question.options[option.number - 1]) for option in seen)

    @staticmethod
    def _only(found: Sequence[Option]) -> Option | None:
        return found[0] if len(found) == 1 else None


def read(screen: str, width: int, cursor: tuple[int, int]) -> Dialog | None:
    """Return the dialog on a screen of this width with this cursor (column, row), or None if there is none."""
    raw_rows = screens.rows(screen)
    rows = [row.replace("\u00a0", " ").rstrip() for row in raw_rows]
    if screens.box_text(screen) is not None:
        return None
    marker = _marker(rows, width, cursor)
    if marker is None:
        return None
    row, column = marker
    block = _numbered_block(rows, screens.foregrounds(screen), row, column, width) or _plain_block(rows, row, column)
    if not block.options:
        return None
    frame = next((at for at in range(block.first - 1, -1, -1) if _is_rule(rows[at], width)), None)
    top = 0 if frame is None else frame + 1
    tabs = rows[top].strip() if top < block.first and re.match(_TABS, rows[top]) else ""
    is_question = bool(tabs or block.below)
    has_preview = is_question and any(re.search(_PREVIEW_TOP, row) for row in rows[block.first :])
    # The last option of a question is the program's own text field: it has a box if the others have.
    has_boxes = not is_question or _has_box(block.options[-1])
    options, below = (
        [_option(found, is_question=is_question, has_boxes=has_boxes, has_preview=has_preview) for found in raw]
        for raw in (block.options, block.below)
    )
    numbers = [option.number for option in [*options, *below]]
    return Dialog(
        tabs=tabs,
        text=_text(rows[top + bool(tabs) : block.first]),
        options=tuple(options),
        below=tuple(below),
        selected=block.selected,
        numbered=block.numbered,
        in_field=cursor[1] >= row and cursor[0] > column,
        is_complete=frame is not None and not block.is_cut and numbers == list(range(1, len(numbers) + 1)),
        rows=tuple(row for row in raw_rows[top:] if row),
        cursor=cursor,
    )


@fast_dataclass(frozen=True)
class _RawOption:
    """An option as it is drawn: its number, the text after that, and the lines below.

    The first of the lines, `label_lines` of them, have a label's colour; that of a description is the number's.
    """

    number: int
    text: str
    lines: tuple[str, ...]
    label_lines: int = 0


@fast_dataclass(frozen=True)
class _Block:
    """The options of a dialog. `first` is their first row; `is_cut`: some of them are hidden."""

    first: int
    options: tuple[_RawOption, ...]
    below: tuple[_RawOption, ...]
    selected: int
    numbered: bool
    is_cut: bool


def _marker(rows: Sequence[str], width: int, cursor: tuple[int, int]) -> tuple[int, int] | None:
    """Return row and column of the `❯` before the selected option."""
    column, row = cursor
    # Text in a field may take several rows.
    for at in range(min(row, len(rows) - 1), -1, -1):
        if (found := re.match(_MARKER, f"{rows[at]} ")) is not None:
            if column >= found.end() or (column == len(found[1]) and at == row):
                return at, len(found[1])
            break
        if rows[at][:_FIELD_INDENT].strip():
            break
    # A question that leaves the cursor at the end is recognised by its frame, which no text can contain.
    for top in range(len(rows) - 2, -1, -1):
        if _is_rule(rows[top], width) and re.match(_TABS, rows[top + 1]) and row > top:
            marked = [at for at in range(top + 2, len(rows)) if rows[at].startswith("❯ ")]
            ends = any(_KEY_HINT in line for line in rows[top:])
            return (marked[-1], 0) if marked and ends else None
    return None


def _is_rule(row: str, width: int) -> bool:
    return width > 0 and row in ("─" * width, "▔" * width)


def _numbered(row: str, column: int) -> re.Match[str] | None:
    """Return the mark, the number and the text of an option that begins in this row with its mark in this column."""
    return re.match(_NUMBERED, row[column:]) if not row[:column].strip() else None


def _numbered_block(
    rows: Sequence[str], colours: Sequence[Sequence[str]], marked: int, column: int, width: int
) -> _Block | None:
    """Return the numbered options around the marked row, or None if it is not among such."""
    start = marked
    # The row below a question's options has a marker, but no number.
    if (found := _numbered(rows[start], column)) is None and rows[start][column + 2 : column + 3] == " ":
        start -= 1
        while start > 0 and (found := _numbered(rows[start], column)) is None and _is_indented(rows[start], column):
            start -= 1
    if found is None:
        return None
    first, number, crossed = start, int(found[2]), False
    for at in range(start - 1, -1, -1):
        if number == 1:
            break
        above = _numbered(rows[at], column)
        if above is not None and int(above[2]) == number - 1:
            first, number = at, number - 1
        elif _is_rule(rows[at], width) and not crossed and first == start:
            crossed = True
        elif not _is_indented(rows[at], column):
            break
    return _read_block(rows, colours, first, marked, column, width)


def _read_block(
    rows: Sequence[str], colours: Sequence[Sequence[str]], first: int, marked: int, column: int, width: int
) -> _Block:
    """Read the numbered options from the first row on. A rule may separate the last one from the others."""
    options: list[tuple[int, str, list[str]]] = []
    label_lines: list[int] = []
    about_colour = ""
    separator_at: int | None = None
    is_cut, gap, selected = False, False, 0
    for at in range(first, len(rows)):
        found = _numbered(rows[at], column)
        if found is not None and (not options or int(found[2]) == options[-1][0] + 1 or separator_at == len(options)):
            options.append((int(found[2]), found[3], []))
            label_lines.append(0)
            about_colour = colours[at][column + found.end(2) - 1]
            is_cut = is_cut or found[1] in "↑↓"
            selected = int(found[2]) if at == marked else selected
            gap = False
        elif re.match(_HIDDEN_ROWS, rows[at]):
            is_cut = True
        elif _is_rule(rows[at], width) and separator_at is None:
            separator_at = len(options)
        elif not rows[at]:
            gap = True
        elif not gap and _is_indented(rows[at], column):
            lines = options[-1][2]
            # Without colours (`NO_COLOR`) the label's lines look like the description's.
            if len(lines) == label_lines[-1] and about_colour not in ("", _first_colour(rows[at], colours[at])):
                label_lines[-1] += 1
            lines.append(rows[at].strip())
        elif at != marked:
            break
    found_options = tuple(
        _RawOption(number, text, tuple(lines), count)
        for (number, text, lines), count in zip(options, label_lines, strict=True)
    )
    below = found_options[separator_at:] if separator_at is not None else ()
    return _Block(first, found_options[:separator_at], below, selected, True, is_cut)


def _first_colour(row: str, colours: Sequence[str]) -> str:
    return colours[len(row) - len(row.lstrip())]


def _is_indented(row: str, column: int) -> bool:
    """Return whether a row may continue the option above: it is empty, or indented at least as far as its text."""
    return not row[: column + 2].strip()


def _plain_block(rows: Sequence[str], marked: int, column: int) -> _Block:
    """Read the options without numbers around the marked row."""

    def begins(row: str) -> bool:
        return (
            not row[:column].strip() and row[column : column + 2] in ("  ", "❯ ") and row[column + 2 : column + 3] > " "
        )

    def continues(row: str) -> bool:
        return bool(row) and (begins(row) or not row[: column + 3].strip())

    first = last = marked
    while first > 0 and continues(rows[first - 1]):
        first -= 1
    while last + 1 < len(rows) and continues(rows[last + 1]):
        last += 1
    options: list[tuple[str, list[str]]] = []
    selected = 0
    for at in range(first, last + 1):
        if begins(rows[at]):
            options.append((rows[at][column + 2 :], []))
            if at == marked:
                selected = len(options)
        elif options:
            options[-1][1].append(rows[at].strip())
    found = tuple(_RawOption(number, text, tuple(lines)) for number, (text, lines) in enumerate(options, 1))
    return _Block(first, found, (), selected, False, False)


def _has_box(found: _RawOption) -> bool:
    is_wrapped = bool(re.match(_WRAPPED_CHECKBOX, found.text)) and bool(found.lines) and found.lines[0].startswith("]")
    return is_wrapped or bool(re.match(_CHECKBOX, found.text))


def _option(found: _RawOption, *, is_question: bool, has_boxes: bool, has_preview: bool) -> Option:
    text, lines = found.text, list(found.lines)
    box: re.Match[str] | None = None
    if has_boxes and (box := re.match(_CHECKBOX, text)) is None and _has_box(found):
        box = re.match(_WRAPPED_CHECKBOX, text)
        lines[0] = lines[0].removeprefix("]").strip()

    def without_preview(text: str) -> str:
        return (re.sub(_PREVIEW, "", text) if has_preview else text).strip()

    label = without_preview(text[box.end() if box else 0 :])
    checked = box[1] != " " if box else None
    if is_question:
        lines = [without_preview(f" {line}") for line in lines]
        parts = ([label, *lines[: found.label_lines]], lines[found.label_lines :])
        whole_label, about = (" ".join(filter(None, part)) for part in parts)
        return Option(found.number, whole_label, about, checked)
    return Option(found.number, " ".join([label, *lines]), "", checked)


def _shows(option: Option, label: str, description: str) -> bool:
    """Return whether an option is drawn as one with this label and description.

    Without colours, the further rows of a wrapped label look like the beginning of its description.
    """
    shown, asked = drawn(option.label), drawn(label)
    whole = drawn(option.label + option.description)
    return shown == asked or (asked.startswith(shown) and whole == drawn(label + description))


def drawn(text: str) -> str:
    """Return the characters of a text that a terminal certainly draws: tmux leaves out a skin tone, for instance."""
    return "".join(
        character
        for character in visible(text)
        if character.isascii() or unicodedata.category(character) not in _OFTEN_LOST
    )


def _text(rows: Sequence[str]) -> str:
    """Return the text of a dialog; a text of several lines may have a bar before each."""
    lines = [
        row.strip() for row in rows if row.strip() and not re.match(_SEPARATOR, row) and not re.match(_HIDDEN_ROWS, row)
    ]
    barred = bool(lines) and all(line.startswith("│") for line in lines)
    return "\n".join(line.removeprefix("│").strip() if barred else line for line in lines)


def _normalized(label: str) -> str:
    return " ".join(label.split()).replace("\u2019", "'")
