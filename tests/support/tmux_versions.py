"""Run the tests that use a terminal on several versions of tmux, and print a table of the results.

`python -m tests.support.tmux_versions [versions] [pytest arguments]` unpacks the tmux of each release of Debian below
`.agents/tmux`, from the mirror of this machine's apt, and runs the tests on each one there; or on those versions only.
A tmux that Debian does not have any more is tested, too, once its program is at `.agents/tmux/VERSION/bin/tmux`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from tests.support.agents import AGENTS, ROOT
from tests.support.debian import Apt, relocate
from tests.support.versions import outcome, report

PLACE = AGENTS.resolve() / "tmux"
RELEASES = ("oldoldstable", "oldstable", "stable", "testing", "unstable")
#: What `doctor` warns of is not tested.
OLDEST = (3, 2)
TESTS = (
    "tests/real/test_attach.py",
    "tests/real/test_terminal.py",
    "tests/real/test_claude*.py",
    "tests/reliability/test_forged_dialogs.py",
    "tests/reliability/test_tmux_*.py",
)
_VERSION = re.compile(r"\d+\.\d+[a-z]?")


def main(arguments: list[str]) -> int:
    """Run everything, with pytest's output as it comes, and print the table last. 1 when anything failed."""
    # A job in the background of a script ignores SIGINT, and so would every command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = list(takewhile(_VERSION.fullmatch, arguments))
    if not chosen or not set(chosen) <= set(installed()):
        for release in RELEASES:
            unpack(release)
    programs = installed()
    if missing := [version for version in chosen if version not in programs]:
        sys.exit(f"no tmux {', '.join(missing)} is here; there are {', '.join(programs)}")
    files = [str(file) for pattern in TESTS for file in sorted(ROOT.glob(pattern))]
    columns = {}
    for version in chosen or programs:
        print(f"\n== tmux {version}", flush=True)
        path = os.pathsep.join([str(programs[version].parent), os.environ["PATH"]])
        columns[f"tmux {version}"] = outcome([*files, *arguments[len(chosen) :]], {"PATH": path})
    print(report(columns))
    return int(not columns or any("FAIL" in column.values() for column in columns.values()))


def installed() -> dict[str, Path]:
    """Return the program of each version that can be tested here, the oldest first.

    One does not start after the checkout was moved: the path of its loader is written into it.
    """
    programs = {path.parents[1].name: path for path in PLACE.glob("*/bin/tmux") if _starts(path)}
    return dict(sorted(programs.items(), key=lambda item: (number(item[0]), item[0])))


def _starts(program: Path) -> bool:
    try:
        return subprocess.run([program, "-V"], stdout=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:  # so it is said of a loader, too
        return False


def number(version: str) -> tuple[int, ...]:
    """Return the number of a version, for comparisons: (3, 2) for `3.2a-4`. Its letter counts for nothing."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def unpack(release: str) -> None:
    """Unpack the tmux of a release of Debian, with the libraries of that release, which this system's may not be.

    tmux alone would not start: that of a newer release needs a newer libc.
    """
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(Path(scratch), release)
        version = apt.version("tmux")
        name = version.partition("-")[0]
        if name in installed() or number(name) < OLDEST:
            return
        root = Path(scratch) / "root"
        for package in apt.download(f"tmux={version}"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        print(f"+ unpacking tmux {name} of {release}", flush=True)
        shutil.rmtree(PLACE / name, ignore_errors=True)
        relocate(root / "usr/bin/tmux", root, PLACE / name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
