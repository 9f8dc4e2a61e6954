"""Install a wheel of the committed state in an empty environment, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

from tests.support.cli import ok
from tests.support.home import Home

ROOT = Path(__file__).resolve().parents[2]
SKILLS = ("delegate", "dev-sessions", "handoff")


def do(*argv: str | Path, cwd: Path) -> None:
    """Run a program with the settings of the user who runs the tests, for git and the package index."""
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


def check_out(folder: Path) -> None:
    """Check out the committed state, and nothing else."""
    archive = folder.with_suffix(".tar")
    do("git", "archive", "--output", archive, "HEAD", cwd=ROOT)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")


def install(checkout: Path, environment: Path) -> None:
    """Make a wheel of a checkout and install it, with what it needs, into a fresh virtual environment."""
    wheels = checkout.with_name("wheels")
    wheels.mkdir()
    pip = (sys.executable, "-m", "pip")
    do(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, checkout, cwd=wheels)
    (wheel,) = wheels.iterdir()
    venv.create(environment, with_pip=False)
    do(*pip, "--python", environment / "bin" / "python", "install", "--quiet", "--no-compile", wheel, cwd=wheels)


# One test, because the environment takes most of its time.
def test_an_installed_wheel_is_whole(home: Home, tmp_path: Path) -> None:
    """A wheel of a clean checkout needs four packages, brings types and skills, and its command runs a session."""
    checkout, environment = tmp_path / "checkout", tmp_path / "environment"
    check_out(checkout)
    install(checkout, environment)
    env = {**home.env, "PATH": os.pathsep.join([str(environment / "bin"), home.env["PATH"]])}

    code = (
        "import dev_sessions, importlib.metadata as m, re\n"
        "print(dev_sessions.__file__)\n"
        "print(*sorted(re.match('[a-z]+', r)[0] for r in m.requires('dev-sessions') if 'extra' not in r))"
    )
    place, needed = ok(home.run(environment / "bin" / "python", "-c", code)).splitlines()
    assert Path(place).is_relative_to(environment)
    assert needed == "click filelock pydantic websockets"
    assert Path(place).with_name("py.typed").is_file()

    printed = ok(home.run("dev-sessions", "install-skill", "--claude", "--codex", env=env))
    for folder in (".claude", ".codex"):
        for name in SKILLS:
            file = home.path / folder / "skills" / name / "SKILL.md"
            assert f"Installed skill: {name} → {file}\n" in printed
            assert file.read_bytes() == (checkout / "skills" / name / "SKILL.md").read_bytes()

    # All of the README's usage is run from a checkout: tests/real/test_demo.py.
    sid = ok(home.run("dev-sessions", "create", "-q", "--cli", "codex", cwd=home.workspace("project"), env=env)).strip()
    assert ok(home.run("dev-sessions", "ask", sid, "say hello", env=env)) == "hello\n"
    assert ok(home.run("dev-sessions", "kill", sid, env=env)) == f"Killed session {sid}\n"
