"""Run checks in parallel; define their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal, TypeAlias

from dev_sessions.models import Serializable
from dev_sessions.system.fast_dataclass import fast_dataclass
from dev_sessions.system.threads import gather

Verdict: TypeAlias = Literal["ok", "warning", "broken"]

#: Seconds for another program or machine to answer, and for a whole check, which may have to end a hanging program.
TIMEOUT = 4.0
_CHECK_TIMEOUT = 12.0


@fast_dataclass(frozen=True)
class Check(Serializable):
    """The result of a check: ok, a warning, or broken if nothing works until it is fixed.

    `text` is one line; unless the verdict is ok, it says what to do.
    """

    name: str
    verdict: Verdict
    text: str


#: Runs a check, which may have any number of results.
CheckFunction: TypeAlias = Callable[[], Iterable[Check]]


def run_checks(checks: Mapping[str, CheckFunction], timeout: float = _CHECK_TIMEOUT) -> list[Check]:
    """Run checks in parallel and return their results in order; one that fails or hangs results in a warning."""

    def run(name: str, check: CheckFunction) -> tuple[str, tuple[Check, ...]]:
        try:
            return name, tuple(check())
        except Exception as error:  # of any kind, so that it does not hide the other checks
            return name, (Check(name, "warning", f"could not be checked: {one_line(error)}"),)

    with gather((partial(run, *item) for item in checks.items()), timeout) as ended:
        pass
    results = dict(ended)
    hangs = f"no answer within {timeout:g} s; find out what hangs"
    return [result for name in checks for result in results.get(name, (Check(name, "warning", hangs),))]


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__
