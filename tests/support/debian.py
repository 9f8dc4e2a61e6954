"""Packages of any release of Debian, without installing them: for programs that are tested in several versions."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path


class Apt:
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

    def has(self, package: str) -> bool:
        """Return whether the release has a package."""
        command = ["apt-cache", *self._settings, "show", package]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def download(self, package: str, *others: str) -> list[Path]:
        """Download packages and all libraries they need."""
        wanted, names = [package, *others], set[str]()
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
        sys.exit("apt uses no mirror of Debian here, which packages are taken from; run this on Debian")
    return found[1]


def relocate(binary: Path, root: Path, place: Path) -> None:
    """Move a program with its libraries to a place of its own, where it finds no others."""
    libraries = place / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
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
    shutil.copy(binary, place / "bin" / binary.name)
