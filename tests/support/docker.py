"""A stand-in for `docker run`, as far as README.md uses it: `IMAGE` holds this machine's programs, and of the user's
files what is mounted.

It is the program `docker` of a home (`install`). A container of it has its own processes and mounts, by bubblewrap.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.home import MARK, Home

#: Options with a value; any other option stands alone.
_WITH_VALUE = {"-e", "-v", "-w", "--user", "--network"}
#: What an image for Claude would set itself, here to reach the scripted model.
_OF_THE_IMAGE = (MARK, "PATH", "LANG", "TERM", "DISABLE_", "ANTHROPIC_", "CLAUDE_CODE_DISABLE_", "BUN_")


def install(home: Home) -> None:
    """Put the stand-in into a home, where PATH finds it."""
    try:
        done = subprocess.run(["bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"], check=False)
    except FileNotFoundError:
        pytest.skip("bubblewrap is not installed")
    if done.returncode != 0:
        pytest.skip("bubblewrap can make no namespaces here")
    program = home.workspace("bin") / "docker"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})\n")
    with program.open("a") as stream:
        stream.write("from tests.support.docker import run\nrun(sys.argv[1:])\n")
    program.chmod(0o755)
    home.env["PATH"] = f"{program.parent}{os.pathsep}{home.env['PATH']}"


def run(arguments: list[str]) -> None:
    """Replace this process by the container's first program."""
    environment = {name: value for name, value in os.environ.items() if name.startswith(_OF_THE_IMAGE)}
    environment["HOME"] = "/root"
    mounts, folder = [], "/"
    assert arguments.pop(0) == "run"
    while arguments[0].startswith("-"):
        option = arguments.pop(0)
        value = arguments.pop(0) if option in _WITH_VALUE else ""
        if option == "-e":
            name, given, text = value.partition("=")
            environment |= {name: text} if given else {name: os.environ[name]} if name in os.environ else {}
        elif option == "-v":
            source, target, *mode = value.split(":")
            assert os.path.exists(source), f"docker would make a folder {source} of root's"
            mounts += ["--ro-bind" if mode == ["ro"] else "--bind", source, target]
        elif option == "-w":
            folder = value
        elif option == "--user":
            assert value in (f"{os.getuid()}", f"{os.getuid()}:{os.getgid()}")
    assert arguments.pop(0) == "IMAGE"
    argv = ["bwrap", "--unshare-pid", "--die-with-parent", "--clearenv"]
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            argv += ["--symlink", os.readlink(entry), str(entry)]
        elif entry.is_dir() and entry.name not in ("dev", "proc", "run"):
            argv += ["--ro-bind", str(entry), str(entry)]
    argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run", "--tmpfs", "/tmp", "--tmpfs", os.environ["HOME"]]
    for programs in (Path(__file__).parents[2], sys.prefix):  # which may lie in /tmp
        argv += ["--ro-bind", str(programs), str(programs)]
    argv += mounts
    for name, text in environment.items():
        argv += ["--setenv", name, text]
    os.execvp(argv[0], [*argv, "--chdir", folder, "--", *arguments])
