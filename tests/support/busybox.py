"""Run tests with busybox's programs, as Alpine has them, with its `ps` and without any, and print a table.

`python -m tests.support.busybox [pytest arguments]` unpacks Debian's busybox-static below `.agents/busybox`. In a mount
namespace of bwrap, busybox is /bin/sh, `ps` and every other program that it knows. The C library stays this system's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.agents import AGENTS
from tests.support.debian import Apt
from tests.support.versions import Verdict, outcome, report

PLACE = AGENTS.resolve() / "busybox"
TESTS = ("-n", "2", "tests/unit", "tests/real/test_flow.py", "tests/real/test_kill_children.py")

#: /bin/sh is a link to dash here, which busybox stands in the place of, and not by that name.
NO_DASH = "--deselect=tests/unit/test_remote.py::test_every_text_arrives_whole_through_every_shell[dash]"


def main(arguments: list[str]) -> int:
    """Run everything, with pytest's output as it comes, and print the table last. 1 when anything failed."""
    # A job in the background of a script ignores SIGINT, and so would every command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program = busybox()
    columns = {}
    for label, has_ps in (("busybox", True), ("busybox without ps", False)):
        print(f"\n== {label}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            path = os.pathsep.join([str(_applets(program, Path(scratch), has_ps=has_ps)), os.environ["PATH"]])
            columns[label] = outcome(
                [*(arguments or TESTS), NO_DASH], {"PATH": path}, prefix=_sandbox(program, has_ps=has_ps)
            )
    print(report({label: _failures(column) for label, column in columns.items()}))
    print(", ".join(f"{label}: {list(column.values()).count('ok')} ok" for label, column in columns.items()))
    return int(any("FAIL" in column.values() or "ok" not in column.values() for column in columns.values()))


def busybox() -> Path:
    """Return busybox, unpacked if need be."""
    program = PLACE / "busybox"
    if not program.exists():
        with tempfile.TemporaryDirectory() as scratch:
            (package,) = Apt(Path(scratch), "stable").download("busybox-static")
            subprocess.run(["dpkg-deb", "-x", package, Path(scratch) / "root"], check=True)
            PLACE.mkdir(parents=True, exist_ok=True)
            (found,) = Path(scratch).glob("root/**/bin/busybox")
            program.write_bytes(found.read_bytes())
            program.chmod(0o755)
    return program


def _applets(program: Path, folder: Path, *, has_ps: bool) -> Path:
    """Fill a folder with busybox under all its names."""
    listed = subprocess.run([program, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for name in listed.split():
        if name != "ps" or has_ps:
            (folder / name).symlink_to(program)
    return folder


def _sandbox(program: Path, *, has_ps: bool) -> list[str]:
    """Return the command line of bwrap in which busybox stands in place of the shell and of `ps`."""
    places = {"/bin/sh": program, "/bin/ps": program if has_ps else Path(os.devnull)}
    binds = [word for place, source in places.items() for word in ("--ro-bind", str(source), os.path.realpath(place))]
    return ["bwrap", "--dev-bind", "/", "/", *binds]


def _failures(column: Mapping[str, Verdict]) -> dict[str, Verdict]:
    return {case: verdict for case, verdict in column.items() if verdict == "FAIL"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
