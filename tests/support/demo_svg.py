"""Draw a recording of a terminal as an SVG image, animated with CSS. Pure.

All lines are laid out below each other, in a window that shows `ROWS` of them. The animation scrolls the lines, and
moves a cover with the cursor down over those that are not printed yet. Without animation, the first rows are a still
picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

COLUMNS, ROWS = 96, 26
#: Pixels of a character, a line and the window's frame.
_CHARACTER, _LINE, _MARGIN, _TITLE_BAR = 8.4, 18, 14, 30
#: Seconds for which the comments and the command are shown before the output, an output, and the end: time to read.
_BEFORE_OUTPUT, _OUTPUT, _OUTPUT_LINE, _END = 1.0, 0.7, 0.15, 5.0

_IMAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>Recording of a terminal: the usage of dev-sessions</title>
<style>
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #e6edf3; }}
.comment {{ fill: #9198a1; }}
.command {{ font-weight: bold; }}
.prompt {{ fill: #3fb950; }}
@media (prefers-reduced-motion: no-preference) {{
#lines {{ animation: scroll {duration:g}s step-end infinite; }}
#cover {{ animation: print {duration:g}s step-end infinite; }}
}}
@keyframes scroll {{
{scroll}
}}
@keyframes print {{
{print}
}}
</style>
<rect x="0.5" y="0.5" width="{inner_width}" height="{inner_height}" rx="8" fill="#0d1117" stroke="#6e7681"/>
<circle cx="20" cy="16" r="6" fill="#ff5f57"/>
<circle cx="40" cy="16" r="6" fill="#febc2e"/>
<circle cx="60" cy="16" r="6" fill="#28c840"/>
<svg x="{margin}" y="{title_bar}" width="{text_width}" height="{text_height}">
<g id="lines">
{lines}
<g id="cover" transform="translate(0 {end})">
<rect width="{text_width}" height="{end}" fill="#0d1117"/>
<rect y="2" width="8" height="15" fill="#e6edf3"/>
</g>
</g>
</svg>
</svg>
"""


@dataclass(frozen=True)
class Step:
    """A command with the comment above it, if any, and the lines that it printed."""

    comment: str | None
    command: str
    output: list[str]


@dataclass(frozen=True)
class Line:
    """A line of the terminal: `kind` is comment, command or output."""

    kind: str
    text: str


def drawn(steps: list[Step]) -> str:
    """Return the image of a recording."""
    lines: list[Line] = []
    #: Seconds, and how many lines are printed from then on.
    frames: list[tuple[float, int]] = []
    now = 0.0
    for step in steps:
        lines += _typed(step, first=not lines)
        frames.append((now, len(lines)))
        now += _BEFORE_OUTPUT
        if step.output:
            lines += [Line("output", text) for line in step.output for text in _broken(line)]
            frames.append((now, len(lines)))
            now += _OUTPUT + _OUTPUT_LINE * len(step.output)
    now += _END
    width, height = 2 * _MARGIN + round(COLUMNS * _CHARACTER), _TITLE_BAR + ROWS * _LINE + _MARGIN
    return _IMAGE.format(
        width=width,
        height=height,
        inner_width=width - 1,
        inner_height=height - 1,
        margin=_MARGIN,
        title_bar=_TITLE_BAR,
        text_width=width - 2 * _MARGIN,
        text_height=ROWS * _LINE,
        end=(len(lines) + 1) * _LINE,
        duration=now,
        scroll=_keyframes(now, ((at, -max(0, count + 1 - ROWS)) for at, count in frames)),
        print=_keyframes(now, frames),
        lines="\n".join(_elements(lines)),
    )


def _typed(step: Step, *, first: bool) -> Iterator[Line]:
    """Yield the lines of a command. Only its first line has the prompt."""
    if step.comment:
        if not first:
            yield Line("output", "")
        for text in textwrap.wrap(step.comment.removeprefix("# "), COLUMNS - 2):
            yield Line("comment", f"# {text}")
    for text in _broken(f"$ {step.command}"):
        yield Line("command", text)


def _broken(line: str) -> list[str]:
    """Return the lines on which a terminal shows one."""
    return [line[start : start + COLUMNS] for start in range(0, max(len(line), 1), COLUMNS)]


def _keyframes(duration: float, positions: Iterable[tuple[float, int]]) -> str:
    """Return the keyframes of a movement: the seconds, and the lines by which it has gone down from then on."""
    return "\n".join(
        f"{100 * at / duration:.3f}% {{ transform: translateY({lines * _LINE}px); }}" for at, lines in positions
    )


def _elements(lines: list[Line]) -> Iterator[str]:
    """Yield an element for each line. `textLength` keeps the columns of a table aligned, whatever the font."""
    for number, line in enumerate(lines):
        if not line.text:
            continue
        text = escape(line.text)
        if line.kind == "command" and text.startswith("$ "):
            text = f'<tspan class="prompt">$</tspan>{text[1:]}'
        length = f'textLength="{len(line.text) * _CHARACTER:g}" lengthAdjust="spacingAndGlyphs"'
        place = f'y="{number * _LINE + 14}" {length}'
        yield f'<text class="{line.kind}" {place} xml:space="preserve">{text}</text>'
