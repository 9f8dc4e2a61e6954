"""The demo is the README's usage, and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.home import Home

ROOT = Path(__file__).resolve().parents[2]


def run_demo(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user whose home this is."""
    return home.run(ROOT / ".venv" / "bin" / "python", "-m", "tests.support.demo", *arguments, cwd=ROOT, timeout=120)


def test_the_demo_does_what_the_readme_says(home: Home) -> None:
    """The demo runs the README's usage with both agents, in a home of its own, and ends well."""
    before = set(home.path.rglob("*"))
    done = run_demo(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Everything did what the README says.\n")
    assert done.stdout.count("4217") >= 2
    assert done.stdout.count("1789") >= 2
    assert home.leftovers() == {}
    written = {path for path in set(home.path.rglob("*")) - before if "tmp" not in path.parts}
    assert written == set(), "nothing is written into the user's home"


def test_the_live_demo_uses_the_users_home_and_ends_only_its_own(home: Home) -> None:
    """With --live the demo works in the user's home, on a tmux server of its own, and leaves their sessions alone."""
    mine = home.cli("create", "-q", cwd=home.workspace()).stdout.strip()
    done = run_demo(home, "--live")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Everything did what the README says.\n")
    assert [record["championId"] for record in json.loads(home.cli("list", "--json").stdout)] == [mine]
    assert home.tmux("list-sessions", "-F", "#{session_name}").stdout == f"dev-{mine}\n"
    assert "4217" in "".join(path.read_text() for path in (home.path / ".claude" / "projects").rglob("*.jsonl"))


def test_the_demo_says_when_something_is_not_as_described(home: Home) -> None:
    """A demo that does not do what the README says fails and names the command."""
    done = home.run(
        ROOT / ".venv" / "bin" / "python",
        "-c",
        "from tests.support.demo import *; from pathlib import Path; import os, sys\n"
        "commands = [Command('echo a', 'b'), Command('false', None), Command('echo c', None)]\n"
        "wrong = run(commands, Path('.'), os.environ)\n"
        "print(*wrong, sep='\\n', file=sys.stderr)",
        cwd=ROOT,
    )
    assert done.stderr.splitlines() == ["false: exit code 1", "echo a: printed 'a', not 'b'"]
    assert "echo c" not in done.stdout


def test_without_installing_what_is_missing_is_only_named(home: Home) -> None:
    """--no-install names what is missing in one line and installs nothing."""
    bin_dir = home.workspace("bin")
    for name in ("bash", "dirname", "id", "env", "grep", "apt-get"):
        found = shutil.which(name) or "/usr/bin/true"
        (bin_dir / name).symlink_to(found)
    done = subprocess.run(
        [str(ROOT / "tests" / "demo"), "--no-install"],
        env={"PATH": str(bin_dir), "HOME": os.fspath(home.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "tmux is missing" in done.stderr
    assert "would run:" in done.stderr
    assert done.stdout == ""
