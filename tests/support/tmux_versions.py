"""Run the tests that use a terminal on several versions of tmux, and print a table of the results.

`python -m tests.support.tmux_versions [versions] [pytest arguments]` unpacks the tmux of each release of Debian below
`.agents/tmux`, from the mirror of this machine's apt, and runs the tests on each one there; or on those versions only.
A tmux that Debian does not have any more is tested, too, once its program is at `.agents/tmux/VERSION/bin/tmux`.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from tests.support.agents import AGENTS, ROOT
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
        apt = _Apt(Path(scratch), release)
        version = apt.version("tmux")
        name = version.partition("-")[0]
        if name in installed() or number(name) < OLDEST:
            return
        root = Path(scratch) / "root"
        for package in apt.download(f"tmux={version}"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        print(f"+ unpacking tmux {name} of {release}", flush=True)
        _relocate(root / "usr/bin/tmux", root, PLACE / name)


def _relocate(binary: Path, root: Path, place: Path) -> None:
    """Move a program with its libraries to a place of its own, where it finds no others."""
    libraries = place / "lib"
    shutil.rmtree(place, ignore_errors=True)
    libraries.mkdir(parents=True)
    for file in root.glob("**/lib/**/*.so*"):
        # Libraries are symbolic links, relative ones, to files of the same folder.
        if file.is_file():
            shutil.copy(file, libraries / file.name)
    described = subprocess.run(["patchelf", "--print-interpreter", binary], capture_output=True, text=True, check=True)
    loader = libraries / Path(described.stdout.strip()).name
    paths: list[str | Path] = ["--set-interpreter", loader, "--force-rpath", "--set-rpath", libraries]
    subprocess.run(["patchelf", *paths, binary], check=True)
    subprocess.run([binary, "-V"], check=True)
    # The program's own place comes last: it says that all is there.
    (place / "bin").mkdir()
    shutil.copy(binary, place / "bin" / "tmux")


class _Apt:
    """apt for one release of Debian, which knows nothing of what is installed here and changes nothing of it."""

    def __init__(self, folder: Path, release: str) -> None:
        for name in ("lists/partial", "cache/archives/partial", "packages"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb {_mirror()} {release} main\n")
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            # Container images switch it off.
            "Dir::Cache::pkgcache": "pkgcache.bin",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": pwd.getpwuid(os.getuid()).pw_name,
        }
        self._packages = folder / "packages"
        self._settings = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        self._run("apt-get", "-q", "update")

    def version(self, package: str) -> str:
        """Return the version of a package."""
        found = re.search(r"^Version: (\S+)$", self._run("apt-cache", "show", package), re.MULTILINE)
        assert found is not None
        return found[1]

    def download(self, package: str) -> list[Path]:
        """Download a package and all libraries it needs."""
        wanted, names = [package], set[str]()
        while wanted:
            name = wanted.pop()
            names.add(name)
            needed = re.findall(r"Depends: (lib\S+)", self._run("apt-cache", "depends", "--important", name))
            wanted += [name for name in needed if name not in names]
        self._run("apt-get", "-q", "download", *sorted(names))
        return sorted(self._packages.glob("*.deb"))

    def _run(self, program: str, *arguments: str) -> str:
        command = [program, *self._settings, *arguments]
        done = subprocess.run(command, cwd=self._packages, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout


def _mirror() -> str:
    """Return the mirror of Debian that this machine's apt uses."""
    command = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^Debian (\S+)$", printed, re.MULTILINE)
    if found is None:
        sys.exit("apt uses no mirror of Debian here, which the versions of tmux are taken from; run this on Debian")
    return found[1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
