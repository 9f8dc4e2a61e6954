"""Unix sockets that no other user can have created or can replace."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev_sessions.errors import NotOwned
from dev_sessions.system.private_files import own_socket

OTHER = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="plays another user, which only root can")


@pytest.fixture
def base() -> Iterator[Path]:
    """Return a directory of this user, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="ds-") as directory:
        yield Path(directory).resolve()


def bound(path: Path) -> Path:
    """Create a socket that nobody listens on any more."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))
    return path


def test_a_socket_in_a_directory_of_ones_own(base: Path) -> None:
    """A socket in a directory of this user is accepted, also through links and before it exists."""
    path = bound(base / "own" / "default")
    (base / "link").symlink_to(base / "own")
    assert own_socket(str(path)) == own_socket(str(base / "link" / "default")) == str(path)
    path.unlink()
    assert own_socket(str(path)) == str(path)
    assert own_socket(str(base / "none" / "default")) is None


def test_a_socket_beside_those_of_other_users(base: Path) -> None:
    """In a sticky directory an existing socket is accepted; a missing one is not: anybody could create it."""
    path = bound(base / "shared" / "default")
    path.parent.chmod(0o1777)
    assert own_socket(str(path)) == str(path)
    path.unlink()
    assert own_socket(str(path)) is None


@pytest.mark.parametrize("mode", [0o777, 0o757])
@pytest.mark.parametrize("deep", [False, True])
def test_a_directory_that_others_can_write_to_is_refused(base: Path, mode: int, deep: bool) -> None:
    """A directory in which other users could replace the socket is refused."""
    path = bound(base / "open" / ("own/default" if deep else "default"))
    (base / "open").chmod(mode)
    with pytest.raises(NotOwned, match=rf"other users can replace what is in {base}/open \(mode 0{mode:o}\)"):
        own_socket(str(path))


@as_root
def test_a_directory_that_a_group_can_write_to(base: Path) -> None:
    """A group-writable directory is accepted only for this user's private group (as with umask 002)."""
    path = bound(base / "open" / "default")
    path.parent.chmod(0o775)
    assert own_socket(str(path)) == str(path)
    os.chown(path.parent, -1, OTHER)
    with pytest.raises(NotOwned, match="other users can replace"):
        own_socket(str(path))


@as_root
@pytest.mark.parametrize("place", ["a", "a/b", "a/b/default"])
def test_what_another_user_owns_on_the_way_is_refused(base: Path, place: str) -> None:
    """A socket is refused if it, its directory or any directory above belongs to another user."""
    path = bound(base / "a" / "b" / "default")
    os.chown(base / place, OTHER, OTHER)
    with pytest.raises(NotOwned, match=re.escape(f"{base / place} belongs to user {OTHER}, not to you (user 0)")):
        own_socket(str(path))


@as_root
def test_a_place_that_another_user_would_own_is_refused(base: Path) -> None:
    """A missing directory below another user's is refused."""
    (base / "theirs").mkdir()
    os.chown(base / "theirs", OTHER, OTHER)
    with pytest.raises(NotOwned, match=f"{base}/theirs belongs to user"):
        own_socket(str(base / "theirs" / "tmux-0" / "default"))


@as_root
def test_a_link_to_a_socket_of_another_user_is_refused(base: Path) -> None:
    """A link of this user to a socket of another one is refused."""
    path = bound(base / "theirs" / "default")
    os.chown(path.parent, OTHER, OTHER)
    (base / "link").symlink_to(path)
    with pytest.raises(NotOwned, match=f"{path.parent} belongs to user"):
        own_socket(str(base / "link"))


#: Becomes a user, then that user's root in a user namespace, as a rootless container does, and looks at a socket.
IN_A_USER_NAMESPACE = """
import ctypes, os, sys
from pathlib import Path
from dev_sessions.system.private_files import own_socket
user, path = int(sys.argv[1]), sys.argv[2]
os.setgroups([])
os.setgid(user)
os.setuid(user)
libc = ctypes.CDLL(None)
libc.prctl(4, 1)  # PR_SET_DUMPABLE, without which /proc/self is still root's
if libc.unshare(0x10000000):  # CLONE_NEWUSER
    sys.exit(77)
Path("/proc/self/uid_map").write_text(f"0 {user} 1")
print(os.geteuid(), os.stat("/tmp").st_uid, own_socket(path))
"""


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
def test_root_without_an_id_in_a_user_namespace_is_still_root() -> None:
    """In a rootless container, where /tmp seems to belong to nobody, the user's socket is accepted."""
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp") as directory:
        path = bound(Path(directory) / "own" / "default")
        for place in (Path(directory), path.parent, path):
            os.chown(place, 12345, 12345)
        argv = [sys.executable, "-c", IN_A_USER_NAMESPACE, "12345", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no user namespaces can be made here")
    assert (done.stdout, done.stderr) == (f"0 65534 {path}\n", "")
