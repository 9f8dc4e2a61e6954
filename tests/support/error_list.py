"""Print every error that the program can report, in a list: `python -m tests.support.error_list`.

The texts are read from the source, with what is put into them in braces; an error whose text is made elsewhere is left
out.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import dev_sessions
from dev_sessions import errors
from dev_sessions.system.fast_dataclass import fast_dataclass

SOURCE = Path(dev_sessions.__file__).parent
_CLASSES = {
    name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, errors.DevSessionsError)
} | {"UsageError"}


@fast_dataclass(frozen=True)
class Reported:
    """An error in the source: where it is raised, its class, and its text."""

    place: str
    kind: str
    text: str


def reported() -> Iterator[Reported]:
    """Yield every error that is constructed with a text, by file and line."""
    for file in sorted(SOURCE.rglob("*.py")):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: call.lineno):
            kind = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if kind not in _CLASSES or not call.args:
                continue
            parts = call.args[:2] if kind in ("DeliveryFailed", "NothingTyped", "SkillNotInstalled") else call.args[:1]
            texts = [_text(part) for part in parts]
            if texts[0] is not None:
                yield Reported(f"{file.relative_to(SOURCE)}:{call.lineno}", kind, "; ".join(filter(None, texts)))


def _text(node: ast.expr) -> str | None:
    """Return a text with `{…}` in place of each value, or None if it is not written here."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(
                str(value.value) if isinstance(value, ast.Constant) else f"{{{ast.unparse(value).strip('{}')}}}"
                for value in values
            )
    return None


if __name__ == "__main__":
    for error in reported():
        print(f"{error.place}\n    {error.kind}: {error.text}")
