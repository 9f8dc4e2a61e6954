"""Which session waits for which, so that no two wait for each other until their timeouts.

The `wait` or `ask` of a session holds the lock of a file `WAITER.TARGET.wait` while it waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from dev_sessions.errors import InvalidRequest
from dev_sessions.system import paths
from dev_sessions.system.file_locks import is_held, locked

_SUFFIX = ".wait"


@contextlib.contextmanager
def recorded(waiter: str, target: str, is_working: Callable[[str], bool]) -> Iterator[None]:
    """Record that a session waits for another. Raises InvalidRequest if that one waits for it, and can't reply.

    A session that has its own `wait` in the background is idle meanwhile, and does reply.
    """
    if waiter in _awaited_by(target) and is_working(target):
        raise InvalidRequest(
            f"{target} is waiting for this session, {waiter}, so neither would go on: end your turn with a reply that"
            f" says what {target} has to know, or send that without waiting: dev-sessions send {target} MESSAGE"
        )
    file = paths.wait_lock(waiter, target)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(file, 0))
            stack.callback(file.unlink, missing_ok=True)
        except (TimeoutError, OSError):
            pass  # another command of the waiter has it, or a sandbox denies it
        yield


def _awaited_by(session_id: str) -> set[str]:
    """Return the sessions for which a session waits, directly or through others."""
    pairs: dict[str, set[str]] = {}
    for file in paths.locks_dir().glob(f"*{_SUFFIX}"):
        waiter, _, target = file.name.removesuffix(_SUFFIX).partition(".")
        if is_held(file):
            pairs.setdefault(waiter, set()).add(target)
    found: set[str] = set()
    pending = [session_id]
    while pending:
        new = pairs.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found
