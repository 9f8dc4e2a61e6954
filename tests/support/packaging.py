"""Build the package, install it in every way that the README names, use it, remove it again, and print a table.

`python -m tests.support.packaging` takes the last commit. The tools (build, twine, pipx, uv) go into a temporary
folder; each installation has an empty home and a PATH with Python alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dev_sessions.cli.render import table
from tests.support.agents import ROOT

#: What the tools need of the caller's environment: package index, certificates and proxies.
_PASSED_ON = re.compile(r"(PIP|UV)_.*|SSL_CERT_.*|REQUESTS_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
#: The command lines that install {file} and that remove the package, for each way.
WAYS = {
    "pipx": (["{tools}/pipx install {file}"], "{tools}/pipx uninstall dev-sessions"),
    "uv tool": (["{tools}/uv tool install {file}"], "{tools}/uv tool uninstall dev-sessions"),
    "pip": (
        ["python3 -m venv {home}/.local", "{home}/.local/bin/pip install {file}"],
        "{home}/.local/bin/pip uninstall --yes dev-sessions",
    ),
}
#: What a new user without any agent does: arguments, exit code, and a pattern of what is printed.
USE = (
    ("--version", 0, r"\d+\.\d+\.\d+\n"),
    ("list", 0, r"No active sessions\n"),
    ("install-skill --claude", 0, r"(Installed skill: .*\n){3}"),
    ("doctor", 1, r"(?s)✓ python.*✗ claude .*✓ skills "),
    ("install-skill --claude --uninstall", 0, r"(Removed skill: .*\n){3}"),
)


class Failed(Exception):
    """A command that did not do what it should."""


def main() -> int:
    """Run everything, and print the table last. 1 when anything failed."""
    with tempfile.TemporaryDirectory(prefix="ds-packaging-") as name:
        folder = Path(name).resolve()
        tools, built = folder / "tools" / "bin", folder / "built"
        rows = [
            ("tools", _result(_install_tools, tools)),
            ("build", _result(_build, folder / "source", built, tools)),
            ("twine check", _result(_run, folder, f"{tools}/twine check --strict {built}/*")),
        ]
        for way in WAYS:
            for kind in ("*.whl", "*.tar.gz"):
                home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
                rows.append((f"{way}, {kind}", _result(_try, way, home, tools, f"{built}/{kind}")))
    print(table([("", "RESULT"), *rows]))
    return int(any(result != "ok" for _, result in rows))


def _result(step: Callable[..., object], *arguments: object) -> str:
    """Run a step; return "ok", or what failed."""
    print(f"== {step.__name__.strip('_')} {' '.join(map(str, arguments))}", flush=True)
    try:
        step(*arguments)
    except Failed as error:
        return f"FAIL: {error}"
    return "ok"


def _install_tools(tools: Path) -> None:
    _run(tools.parent.parent, f"{sys.executable} -m venv {tools.parent}")
    _run(tools.parent, f"{tools}/pip install --quiet build twine pipx uv")


def _build(source: Path, built: Path, tools: Path) -> None:
    """Build the source distribution of the last commit, and the wheel from it."""
    archive = source.with_suffix(".tar")
    _run(ROOT, f"git archive --output {archive} HEAD")
    with tarfile.open(archive) as packed:
        packed.extractall(source, filter="data")
    printed = _run(source, f"{tools}/python -m build --outdir {built}")
    if warnings := re.findall(r"(?im)^.*deprecat.*$|^\w*warning: (?!Location).*$", printed):
        raise Failed(f"build warns: {warnings[0]}")


def _try(way: str, home: Path, tools: Path, file: str) -> None:
    """Install a file in an empty home, use the program, and remove it: only ~/.dev-sessions may be left of it."""
    python = home.with_name(f"{home.name}-path")
    python.mkdir()
    (python / "python3").symlink_to(Path(sys.executable).resolve())
    only_python = {"HOME": str(home), "PATH": f"{home}/.local/bin:{python}"}
    install, remove = WAYS[way]
    for line in install:
        _run(home, line.format(tools=tools, home=home, file=file), env=only_python)
    for arguments, code, pattern in USE:
        printed = _run(home, f"dev-sessions {arguments}", env=only_python, code=code)
        if not re.match(pattern, printed):
            raise Failed(f"dev-sessions {arguments} printed {printed!r}")
    _run(home, remove.format(tools=tools, home=home), env=only_python)
    left = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() or path.is_symlink()]
    # A lock of pipx itself keeps the name.
    of_ours = re.compile(r"(?!\.dev-sessions/|.*/\.dev-sessions\.lock$).*dev[-_]sessions|\.claude/|\.local/bin/dev-")
    if of_ours_left := [path for path in left if of_ours.match(path) and "/.cache/" not in f"/{path}"]:
        raise Failed(f"left: {' '.join(of_ours_left)}")


def _run(folder: Path, line: str, *, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Run a command line in a shell, and return what it prints. Raises Failed for another exit code."""
    passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    # uv has certificates of its own otherwise, which a proxy's is not among.
    quiet = {"UV_SYSTEM_CERTS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LANG": "C.UTF-8"}
    of_user = {name: os.environ[name] for name in ("HOME", "PATH")}
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=folder,
        env={**of_user, **passed_on, **quiet, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != code:
        raise Failed(f"{line} exited with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
