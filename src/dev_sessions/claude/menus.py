"""Read the dialogs of Claude that no model asks for: its menus, pickers, forms and pages. Pure.

Measured on 2.1.250 and 2.1.332. What a command such as `/model` opens is drawn below a rule of `▔` across the whole
screen, and what an MCP server or another session asks below one of `─`. Only the program can draw these. Below that:

* A list marks the selected option with `❯`, with or without numbers. The terminal's cursor is on the mark only while
  the list has the focus; a search field or a row of tabs may have it, and Down moves it to the list. Dim rows belong to
  the option above, and what is bold or dim before the first option of a group is its heading. Of a long list a part is
  drawn, with the number of the hidden options above and below it::

      ▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔▔
        Rewind

        Restore the code and/or conversation to the point before…

          ↑ 8 more

          say n13
          No code changes

        ❯ (current)

        Enter to continue · Esc to cancel

* A slider (`/effort`) has its values below a line with a `▲`, which the keys Left and Right move.
* A form has a line for each field, with `*` before one that is required, `✔` before one that is filled in, `⚠` before
  one that was rejected, and then two buttons. Its choices are drawn only while they are expanded (Right), a text
  field has the cursor::

      ────────────────────────────────────────────────────────────
        MCP server “made” requests your input

        Who are you?

          ✔ Your name: Ann
        ❯ * Colour: ▾
              ❯ ◯ red
                ◯ blue
            Sure?: not set

          Accept    Decline

        Esc to cancel · ↑/↓ to navigate · Backspace to unset
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dev_sessions.claude import dialogs
from dev_sessions.claude import screen as screens
from dev_sessions.claude.dialogs import Option
from dev_sessions.system.fast_dataclass import fast_dataclass, replace

_MARKED = r"( *)❯ "
_HIDDEN_ROWS = r"\s*([↑↓]) (\d+) more\b"
_SEPARATOR = r"\s*[╌─╭╰][╌─╮╯]+$"
#: The rule that may be below a menu outside of fullscreen mode, with the conversation's name (2.1.332).
_LOWER_RULE = r"─*(?: \S.*)? ?─+$"
_BOXED = r"\s*│ ?(.*?) *│$"
#: The first character of a label.
_MARKS = r" *(?:❯ )?(?:[✔✘○◯☐☒⚠△] )? *\S"
#: A field without a frame (2.1.250).
_PROMPT = r" +>(?: (.*))?$"
_CHECK_MARK = r"^✔ | ✔(?= |$)"
#: The blanks before a second column.
_COLUMNS = r"\s{2,}"
_HINT = r"\b(?:Esc|Enter) to [a-z]|←/→ to [a-z]|↑/↓ to [a-z]"
_SLIDER = r"\s*(─*▲─*)"
_ELICITATION = r"MCP server “.*” (?:requests your input|wants to open a URL)"
_HELD_MESSAGE = "Held message from another session"
_FIELD = r"  ([❯ ]) ([*✔⚠ ]) (\S.*?): ?(.*)$"
_CHOICE = r" {8}([❯ ]) ([◯◉●☐☒]) (.+)$"
_BUTTONS = r"  ([❯ ]) (\S.*?)  ([❯ ]) (\S.*)$"
_PLACEHOLDER = "Type something…"
#: Below this size some menus hide options and do not say so (2.1.332).
_SMALL_WIDTH, _SMALL_HEIGHT = 60, 20
_BOXES, _CHOSEN = ("☐", "☒"), ("☒", "◉", "●")


@fast_dataclass(frozen=True)
class Field:
    """A field of a form; `status` is the character before it.

    An expanded one has `choices`, each with its label and whether it is chosen, of which the number `marked` is marked;
    `multiple`: several may be chosen.
    """

    label: str
    value: str
    status: str
    note: str = ""
    choices: tuple[tuple[str, bool], ...] = ()
    marked: int = 0
    multiple: bool = False

    @property
    def is_required(self) -> bool:
        """Return whether the form is not accepted before it is filled in."""
        return self.status == "*"

    @property
    def is_rejected(self) -> bool:
        """Return whether its value was not accepted; the note says why."""
        return self.status == "⚠"

    @property
    def is_empty_text(self) -> bool:
        """Return whether it takes text and has none; that shows only while it is selected."""
        return self.value == _PLACEHOLDER

    @property
    def is_checkbox(self) -> bool:
        """Return whether it is a box; that shows only while it is selected or filled in."""
        return self.value in _BOXES

    @property
    def checked(self) -> bool | None:
        """Return whether its box is checked; None if it has no box, or is not filled in."""
        return self.value == "☒" if self.is_checkbox and self.status == "✔" else None

    @property
    def can_expand(self) -> bool:
        """Return whether it is selected and has choices that are not drawn."""
        return self.value.startswith("▸")


@fast_dataclass(frozen=True)
class Menu:
    """A dialog of the program itself.

    `selected` is the number of the selected option, 0 if none has the focus. `is_slider`: the options are side by side,
    and Left and Right move. `hidden` is the number of options above and below that are not drawn. `field_text` is the
    text in the field that has the cursor, None if there is no such field. A form has `fields`, of which the number
    `selected_field` is selected, 0 if none is, and its buttons as options.
    """

    title: str
    text: str
    hint: str
    options: tuple[Option, ...]
    selected: int
    rows: tuple[str, ...]
    cursor: tuple[int, int]
    hidden: tuple[int, int] = (0, 0)
    is_slider: bool = False
    field_text: str | None = None
    is_form: bool = False
    fields: tuple[Field, ...] = ()
    selected_field: int = 0

    @property
    def is_held_message(self) -> bool:
        """Return whether it asks whether a message of another session is to be delivered."""
        return self.title == _HELD_MESSAGE

    @property
    def is_loading(self) -> bool:
        """Return whether it offers nothing yet, not even a key: a busy machine draws the rest later."""
        return not self.options and not self.hint

    @property
    def is_cut(self) -> bool:
        """Return whether options are hidden."""
        return self.hidden != (0, 0)

    @property
    def confirm_key(self) -> str:
        """Return the key that chooses the selected option."""
        return "Space" if "Space to toggle" in self.hint and "Enter to" not in self.hint else "Enter"

    def is_same(self, other: Menu) -> bool:
        """Return whether it is the same menu, whatever is selected in it."""
        return (self.title, self.is_form, self.is_slider) == (other.title, other.is_form, other.is_slider)

    def number_of(self, label: str, before: int) -> int:
        """Return the number of the option that had this label and this number; 0 if there is none any more.

        The selected option may have a text field behind its label.
        """
        found = [option.number for option in self.options if option.label.startswith(label)]
        return before if before in found else found[0] if len(found) == 1 else 0


def read(screen: str, width: int, cursor: tuple[int, int]) -> Menu | None:
    """Return the menu on a screen of this width with this cursor (column, row), or None if there is none."""
    if screens.box_text(screen) is not None or width <= 0:
        return None
    drawn = screens.rows(screen)
    rows = [row.replace("\u00a0", " ").rstrip() for row in drawn]
    if (top := _top(rows, width)) is None:
        return None
    end = next(
        (at for at in range(len(rows), top, -1) if rows[at - 1] and not re.match(_LOWER_RULE, rows[at - 1])), top
    )
    rows = rows[:end]
    while end > top and (not rows[end - 1] or _is_hint(rows, end - 1)):
        end -= 1
    hint = " ".join(row.strip() for row in rows[end:] if row)
    first = next((row.strip() for row in rows[top:end] if row and not re.match(_SEPARATOR, row)), "")
    # Tabs may stand behind it.
    title = re.split(_COLUMNS, first)[0]
    if not title:
        return None
    shown = tuple(row for row in drawn[top - 1 :] if row)
    if re.match(_ELICITATION, title):
        return _form(rows[top:end], title, hint, shown, cursor)
    if (slider := _slider(rows[top:end])) is not None:
        options, selected, text = slider
        return Menu(title, text, hint, options, selected, shown, cursor, is_slider=True)
    found = _List(screen, rows, top, end, width, cursor)
    field_text = _field_text(rows, cursor)
    return Menu(
        title, found.text, hint, found.options, found.selected, shown, cursor, found.hidden, field_text=field_text
    )


def is_cut(screen: str, width: int, height: int) -> bool:
    """Return whether a dialog is drawn of which something may be hidden.

    That is one with hidden options, a plan that can be scrolled, a form, which grows when the choices of a field are
    expanded, and any menu on a screen that is so small that it does not even say that it hides options.
    """
    if screens.box_text(screen) is not None:
        return False
    is_small = width < _SMALL_WIDTH or height < _SMALL_HEIGHT
    return any(
        re.match(_HIDDEN_ROWS, row)
        or row.endswith("   ↓")
        or re.match(_ELICITATION, row.strip())
        or (is_small and "▔▔" in row)
        for row in screens.rows(screen)
    )


def _top(rows: Sequence[str], width: int) -> int | None:
    """Return the first row below the rule of a menu.

    It is a row of `▔` in fullscreen mode (the setting `tui`), otherwise of `─`; which is the default is decided by a
    flag of Claude's server (2.1.250 to 2.1.332). Some menus always have `─`.
    """
    for at in range(len(rows) - 1, -1, -1):
        # For some seconds a notice may stand in the rule.
        if len(rows[at]) == width and rows[at].startswith("▔▔") and rows[at].endswith("▔"):
            return at + 1
        if rows[at] == "─" * width and at + 1 < len(rows) and rows[at + 1].strip():
            return at + 1
    return None


def _is_hint(rows: Sequence[str], at: int) -> bool:
    """Return whether a row tells which keys there are; such a text may take two rows."""
    return bool(re.search(_HINT, rows[at])) or (" · " in rows[at] and bool(re.search(_HINT, rows[at - 1])))


class _List:
    """The options of a list between two rows of a screen, and the text around them."""

    def __init__(
        self, screen: str, rows: Sequence[str], top: int, end: int, width: int, cursor: tuple[int, int]
    ) -> None:
        self.options: tuple[Option, ...] = ()
        self.selected = 0
        self._rows, self._top, self._end = rows, top, end
        self._colours, self._bold = screens.foregrounds(screen), screens.bold_rows(screen)
        hidden = {found[1]: int(found[2]) for row in rows[top:end] if (found := re.match(_HIDDEN_ROWS, row))}
        self.hidden = (hidden.get("↑", 0), hidden.get("↓", 0))
        used: set[int] = set()
        marks = [at for at in range(top, end) if re.match(_MARKED, rows[at])]
        # A text field behind the label of the selected option may have the cursor.
        focused = [at for at in marks if cursor[1] == at and cursor[0] >= rows[at].index("❯")]
        if marks:
            marked = (focused or marks)[0]
            used = self._read_numbered(screen, width, marked) or self._read_plain(marked)
            self.selected = self.selected if focused else 0
        self.text = _text(
            [rows[at] for at in range(top, end) if at not in used and not re.match(_HIDDEN_ROWS, rows[at])]
        )

    def _read_numbered(self, screen: str, width: int, marked: int) -> set[int]:
        """Read options with numbers; return their rows, or none if they have no numbers."""
        rows, column = self._rows, self._rows[marked].index("❯")
        dialog = dialogs.read(screen, width, (column, marked))
        if dialog is None or not dialog.numbered:
            return set()
        self.selected = dialog.selected
        self.options = tuple(_split(option.number, option.label) for option in dialog.options)
        begins = re.compile(rf" {{{column}}}[❯↑↓ ]  ?{self.options[0].number}\. ")
        first = next(at for at in range(marked, self._top - 1, -1) if begins.match(rows[at]))
        is_over = (at for at in range(first, self._end) if rows[at][: column + 2].strip(" ❯↑↓") or not rows[at])
        return set(range(first, next(is_over, self._end)))

    def _read_plain(self, marked: int) -> set[int]:
        """Read options without numbers; return their rows."""
        rows, column = self._rows, self._rows[marked].index("❯")
        first, last = marked, marked
        while first > self._top and self._is_within(first - 1, column):
            first -= 1
        while last + 1 < self._end and self._is_within(last + 1, column):
            last += 1
        block = range(first, last + 1)
        # Labels may be indented for a check mark, which one of them has.
        is_indented = any(rows[at].startswith("✔ ", column + 2) for at in block)
        labels: list[tuple[str, list[str]]] = []
        used = set()
        for at in block:
            indent = len(rows[at]) - len(rows[at].lstrip(" ❯"))
            begins = indent == column + 2 or (is_indented and indent == column + 4)
            if not rows[at] or re.match(_HIDDEN_ROWS, rows[at]) or self._is_heading(at, marked):
                continue
            if rows[at].startswith("❯", column) or (begins and not self._is_dim(at)):
                labels.append((rows[at][column + 2 :].strip(), []))
                if at == marked:
                    self.selected = len(labels)
            elif labels:
                labels[-1][1].append(rows[at].strip())
            used.add(at)
        self.options = tuple(_split(number, text, *about) for number, (text, about) in enumerate(labels, 1))
        return used

    def _is_within(self, at: int, column: int) -> bool:
        """Return whether a row may be one of the list: empty, marked, or indented as its labels are."""
        row = self._rows[at]
        return not row[:column].strip() and row[column : column + 2].strip() in ("", "❯")

    def _is_dim(self, at: int) -> bool:
        """Return whether a row, without a mark before it, has a colour: labels that are not selected have none."""
        found = re.match(_MARKS, self._rows[at])
        return found is not None and self._colours[at][found.end() - 1] != ""

    def _is_heading(self, at: int, marked: int) -> bool:
        """Return whether a row is the heading of a group: bold, or dim and not directly below a label."""
        if at == marked or self._rows[at].lstrip().startswith("❯"):
            return False
        above = self._rows[at - 1]
        return at in self._bold or (self._is_dim(at) and (not above or bool(re.match(_SEPARATOR, above))))


def _split(number: int, text: str, *about: str) -> Option:
    """Return an option whose text may have a second column, and a check mark if it is the present choice."""
    label, *more = re.split(_COLUMNS, text, maxsplit=1)
    is_current = ["✔"] if re.search(_CHECK_MARK, label) else []
    return Option(number, re.sub(_CHECK_MARK, "", label).strip(), " ".join([*is_current, *more, *about]))


def _field_text(rows: Sequence[str], cursor: tuple[int, int]) -> str | None:
    """Return the text in the field that has the cursor; a search field only filters, and takes no answer."""
    row = rows[cursor[1]] if cursor[1] < len(rows) else ""
    if (found := re.match(_PROMPT, row)) is not None:
        return found[1] or ""
    found = re.match(_BOXED, row)
    return found[1] if found is not None and not found[1].startswith("⌕") and cursor[0] < len(row) else None


def _slider(rows: Sequence[str]) -> tuple[tuple[Option, ...], int, str] | None:
    """Return the values of a slider, the number of the selected one, and the text around it."""
    for number, row in enumerate(rows[:-1]):
        if (found := re.match(_SLIDER, row)) is None:
            continue
        values = [value for value in re.finditer(r"\S+(?: \S+)*", rows[number + 1]) if value.start() < found.end()]
        if len(values) > 1:
            distances = [abs(value.start() + value.end() - 1 - 2 * row.index("▲")) for value in values]
            selected = distances.index(min(distances)) + 1
            about = {selected: "✔"}
            options = tuple(Option(at, value[0], about.get(at, "")) for at, value in enumerate(values, 1))
            return options, selected, _text([*rows[:number], *rows[number + 2 :]])
    return None


def _form(rows: Sequence[str], title: str, hint: str, shown: tuple[str, ...], cursor: tuple[int, int]) -> Menu | None:
    """Read what an MCP server asks."""
    buttons = [(at, found) for at, row in enumerate(rows) if (found := re.match(_BUTTONS, row)) is not None]
    if not buttons:
        return None
    at, found = buttons[-1]
    options = (Option(1, found[2].strip()), Option(2, found[4].strip()))
    selected = 1 if found[1] == "❯" else 2 if found[3] == "❯" else 0
    fields, text, selected_field = _fields(rows[:at])
    return Menu(
        title, text, hint, options, selected, shown, cursor,
        is_form=True, fields=tuple(fields), selected_field=selected_field,
    )  # fmt: skip


def _fields(rows: Sequence[str]) -> tuple[list[Field], str, int]:
    """Read the fields of a form; return them, the text above, and the number of the selected one."""
    fields: list[Field] = []
    selected = 0
    # What the server says is indented less.
    first = next((at for at, row in enumerate(rows) if re.match(_FIELD, row)), len(rows))
    for row in rows[first:]:
        last = fields[-1] if fields else None
        if last is not None and last.value == "▾" and (choice := re.match(_CHOICE, row)) is not None:
            choices = (*last.choices, (choice[3], choice[2] in _CHOSEN))
            marked = len(choices) if choice[1] == "❯" else last.marked
            fields[-1] = replace(last, choices=choices, marked=marked, multiple=choice[2] in _BOXES)
        elif (found := re.match(_FIELD, row)) is not None:
            fields.append(Field(found[3], found[4], found[2]))
            selected = len(fields) if found[1] == "❯" else selected
        elif row and last is not None:
            fields[-1] = replace(last, note=" ".join(filter(None, [last.note, row.strip()])))
    return fields, _text(rows[:first]), selected


def _text(rows: Sequence[str]) -> str:
    """Return rows as text, without frames and separators, and with at most one empty line in a row."""
    lines: list[str] = []
    for row in rows:
        if not re.match(_SEPARATOR, row):
            boxed = re.match(_BOXED, row)
            line = boxed[1] if boxed is not None else row.strip()
            if line or (lines and lines[-1]):
                lines.append(line)
    return "\n".join(lines).strip("\n")
