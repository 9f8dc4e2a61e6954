"""One thing that was looked at, and looking at many at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

from dev_sessions.models import Portable
from dev_sessions.system.deadline import Deadline
from dev_sessions.system.fast_dataclass import fast_dataclass

Verdict: TypeAlias = Literal["ok", "warning", "broken"]

#: Seconds for another program or machine to answer, and for a check as a whole: to end one that hangs takes some, too.
PATIENCE = 4.0
_CHECK_PATIENCE = 12.0


@fast_dataclass(frozen=True)
class Check(Portable):
    """What was seen of one thing: fine, something to know about, or broken, so that nothing works until it is mended.

    `text` is one line, and says what to do unless all is fine.
    """

    name: str
    verdict: Verdict
    text: str


#: A check may have nothing to say, or more than one thing.
Snapshot: TypeAlias = Callable[[], Iterable[Check]]


def look_at_all(looks: Mapping[str, Snapshot], patience: float = _CHECK_PATIENCE) -> list[Check]:
    """What every check sees, in their order, all looked at together. One that fails or hangs is told as that."""
    seen: dict[str, tuple[Check, ...]] = {}

    def examine(name: str, look: Snapshot) -> None:
        try:
            seen[name] = tuple(look())
        except Exception as error:  # of whatever kind: the others have their say all the same
            seen[name] = (Check(name, "warning", f"could not be looked at: {one_line(error)}"),)

    threads = [threading.Thread(target=examine, args=item, daemon=True) for item in looks.items()]
    deadline = Deadline(patience)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(deadline.remaining())
    hangs = f"no answer for {patience:g} s; find out what hangs there"
    return [check for name in looks for check in seen.get(name, (Check(name, "warning", hangs),))]


def one_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
