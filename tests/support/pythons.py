"""Run the tests on every supported Python, with the newest and the oldest allowed dependencies, and print a table.

`python -m tests.support.pythons [versions] [pytest arguments]` makes an environment for each below `.agents/python`. An
interpreter is taken from PATH or from pyenv, else unpacked from Debian's packages by the mirror of this machine's apt.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Literal, TypeAlias

from dev_sessions.cli.render import table
from tests.support.agents import AGENTS, ROOT
from tests.support.debian import Apt, relocate
from tests.support.versions import Verdict, outcome

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
Dependencies: TypeAlias = Literal["newest", "oldest"]
DEPENDENCIES: tuple[Dependencies, ...] = ("newest", "oldest")
PLACE = AGENTS.resolve() / "python"
#: The releases of Debian that have a newer Python than the oldest supported.
RELEASES = ("stable", "unstable")
#: The groups of tests, as rows of the table, with what chooses them.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "unit": ("-n", "2", "tests/unit"),
    "cli": ("-n", "2", "tests/cli"),
    "contract": ("tests/contract",),
    "main job": ("tests/real/test_flow.py", "-k", "test_the_main_job"),
}


def main(arguments: list[str]) -> int:
    """Run everything, with pytest's output as it comes, and print the table last. 1 when anything failed."""
    # A job in the background of a script ignores SIGINT, and so would every command that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = list(takewhile(re.compile(r"\d+\.\d+").fullmatch, arguments))
    options = arguments[len(chosen) :]
    columns = {}
    for version in chosen or VERSIONS:
        for dependencies in DEPENDENCIES:
            print(f"\n== Python {version}, {dependencies} dependencies", flush=True)
            columns[f"{version} {dependencies}"] = _column(version, dependencies, options)
    print(report(columns))
    return int(any(is_bad(cell) for column in columns.values() for cell in column.values()))


def _column(version: str, dependencies: Dependencies, options: list[str]) -> dict[str, str]:
    program = interpreter(version)
    if program is None:
        return {"python": "MISSING"}
    python = environment(version, program, dependencies)
    cells = {"python": _printed(python, "import platform; print(platform.python_version())")}
    cells.update(_installed(python))
    for group, chosen in GROUPS.items():
        verdicts = outcome([*chosen, *options], {}, python=python)
        cells[group] = summary(verdicts)
        for case, verdict in verdicts.items():
            if verdict == "FAIL":
                print(f"FAILED on Python {version}, {dependencies} dependencies: {case}", flush=True)
    return cells


def summary(verdicts: Mapping[str, Verdict]) -> str:
    """Return a group's cell of the table: how many tests passed, and which part failed."""
    found = list(verdicts.values())
    failed = found.count("FAIL")
    return f"{found.count('ok')} ok" + (f", {failed} FAIL" if failed else "")


def is_bad(cell: str) -> bool:
    """Return whether a cell says that something failed, or that no test ran."""
    return "FAIL" in cell or "MISSING" in cell or cell == "0 ok"


def report(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Return the table, a row for each environment."""
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [(label, *(column.get(name, "") for name in names)) for label, column in columns.items()]
    return table([("ENVIRONMENT", *(name.upper() for name in names)), *rows])


def interpreter(version: str) -> Path | None:
    """Return the program of a version of Python, unpacked if need be; None where none can be had."""
    for program in _candidates(version):
        if program.exists() and _starts(program, version):
            return program
    if shutil.which("apt-get"):
        for release in RELEASES:
            if _unpack(release, version):
                return PLACE / version / "bin" / f"python{version}"
    return None


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (Path(folder) / name for folder in os.environ["PATH"].split(os.pathsep))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"))
    yield PLACE / version / "bin" / name


def _starts(program: Path, version: str) -> bool:
    """Return whether a program is that Python, with all that an environment needs. A name of pyenv may be a stub."""
    code = "import ssl, venv, sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([program, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except FileNotFoundError:  # so it is said of a loader, too, after the checkout was moved
        return False
    return done.stdout.decode().strip() == version


def _unpack(release: str, version: str) -> bool:
    """Unpack the Python of a release of Debian with the libraries of that release. False if it has not that one."""
    with tempfile.TemporaryDirectory() as scratch:
        apt = Apt(Path(scratch), release)
        name = f"python{version}"
        if not apt.has(name):
            return False
        root, place = Path(scratch) / "root", PLACE / version
        for package in apt.download(f"{name}-minimal", f"lib{name}-minimal", f"lib{name}-stdlib", f"{name}-venv"):
            subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        print(f"+ unpacking Python {version} of Debian {release}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(root / "usr/lib" / name, place / "lib" / name, symlinks=True)
        relocate(root / "usr/bin" / name, root, place)
        return True


def environment(version: str, program: Path, dependencies: Dependencies) -> Path:
    """Make an environment with the newest or the oldest allowed dependencies, and return its Python.

    One that was made for the same requirements is used again.
    """
    place = PLACE / f"{version}-{dependencies}"
    python, done = place / "bin" / "python", place / "installed"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] if dependencies == "newest" else oldest(project["dependencies"])
    tools = [tool for tool in project["optional-dependencies"]["dev"] if not tool.startswith(("mypy", "ruff"))]
    wanted = "\n".join([str(ROOT), *requirements, *tools])
    if done.exists() and done.read_text() == wanted and _starts(python, version):
        return python
    subprocess.run([program, "-m", "venv", "--clear", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, *requirements, *tools], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    done.write_text(wanted)
    return python


def oldest(requirements: list[str]) -> list[str]:
    """Return requirements for the lowest version that each one allows."""
    return [requirement.replace(">=", "==") for requirement in requirements]


def _installed(python: Path) -> dict[str, str]:
    names = ("click", "websockets", "filelock", "pydantic")
    code = f"from importlib.metadata import version; print(*map(version, {names}))"
    return dict(zip(names, _printed(python, code).split(), strict=True))


def _printed(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
