"""A file system as a Mac's is by default: names keep their case and Unicode form, and are found by any other.

It shows a directory of the real one by FUSE, whose requests it answers itself (<linux/fuse.h>). Only root may mount it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

_ROOT = 1
_LARGEST = 1 << 20
_INIT = struct.Struct("<IIIIHHII36x")
_ENTRY, _ATTRIBUTES = struct.Struct("<QQQQII"), struct.Struct("<6Q10I")
_MS_NOSUID_NODEV, _MNT_DETACH = 6, 2


@contextlib.contextmanager
def mounted(backing: Path, target: Path) -> Iterator[Path]:
    """While the block runs, show a directory as such a file system. Raises OSError where none can be mounted."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if libc.mount(b"volume", os.fsencode(target), b"fuse", _MS_NOSUID_NODEV, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "cannot mount a file system")
        child = os.fork()
        if child == 0:  # it can be asked for files by this very process, so it is another one
            with contextlib.suppress(BaseException):
                _Volume(str(backing), device).serve()
            os._exit(0)
    finally:
        os.close(device)
    try:
        yield target
    finally:
        libc.umount2(os.fsencode(target), _MNT_DETACH)
        os.kill(child, 9)
        os.waitpid(child, 0)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFD", name).casefold()


class _Volume:
    """Answers the kernel. Each file has one node, by whatever name it was found, so that locks and sockets are its.

    A directory has one for each name: Linux gives a node of a directory the name by which it was found last, which the
    processes that work in it would take for theirs.
    """

    def __init__(self, root: str, device: int) -> None:
        self._device = device
        status = os.lstat(root)
        self._paths = {_ROOT: root}
        self._nodes: dict[tuple[object, ...], int] = {(status.st_dev, status.st_ino): _ROOT}
        self._next = _ROOT + 1
        self._listings: dict[int, list[str]] = {}
        #: The last handle of each file that was opened, for one that was removed since.
        self._handles: dict[int, int] = {}
        self._answers: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: lambda node, data: self._entry(self._below(node, data), node, data),
            3: self._getattr,
            4: self._setattr,
            5: lambda node, _: os.fsencode(os.readlink(self._paths[node])),
            6: self._symlink,
            8: self._mknod,
            9: self._mkdir,
            10: lambda node, data: self._remove(os.unlink, self._below(node, data)),
            11: lambda node, data: self._remove(os.rmdir, self._below(node, data)),
            12: lambda node, data: self._rename(node, data, 8),
            13: self._link,
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: lambda _, data: os.close(struct.unpack_from("<Q", data)[0]),
            20: lambda _, data: os.fsync(struct.unpack_from("<Q", data)[0]),
            25: lambda *_: None,
            26: lambda *_: _INIT.pack(7, 31, _LARGEST, 1 | 1 << 5, 16, 12, _LARGEST, 1),
            27: self._opendir,
            28: self._readdir,
            29: self._releasedir,
            30: lambda *_: None,
            35: self._create,
            45: lambda node, data: self._rename(node, data, 16),
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, _LARGEST + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, code, unique, node = struct.unpack_from("<IIQQ", request)
            if code in (2, 36, 42):  # to forget a node or a request has no answer
                continue
            failed, answer = 0, b""
            try:
                if code not in self._answers:
                    raise OSError(errno.ENOSYS, "")
                answer = self._answers[code](node, request[40:]) or b""
            except OSError as error:
                failed = error.errno or errno.EIO
            except KeyError:
                failed = errno.ESTALE
            with contextlib.suppress(FileNotFoundError):  # the request was interrupted
                os.write(self._device, struct.pack("<IiQ", 16 + len(answer), -failed, unique) + answer)

    def _below(self, node: int, data: bytes) -> str:
        """Return the path of a name in a directory: that of the entry which differs in case or form only, if any."""
        folder, name = self._paths[node], os.fsdecode(data.split(b"\0")[0])
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            folded = _folded(name)
            path = next((os.path.join(folder, each) for each in os.listdir(folder) if _folded(each) == folded), path)
        return path

    def _new(self, node: int, data: bytes) -> str:
        path = self._below(node, data)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "")
        return path

    def _entry(self, path: str, folder: int, name: bytes) -> bytes:
        """Return the node of a path that was found or made by a name in a folder."""
        status = os.lstat(path)
        found_as = (folder, name.split(b"\0")[0]) if stat.S_ISDIR(status.st_mode) else ()
        key = (status.st_dev, status.st_ino, *found_as)
        if key not in self._nodes:
            self._nodes[key], self._next = self._next, self._next + 1
        node = self._nodes[key]
        self._paths[node] = path
        return _ENTRY.pack(node, 0, 0, 0, 0, 0) + self._packed(status)

    @staticmethod
    def _packed(status: os.stat_result) -> bytes:
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        numbers = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev, status.st_blksize, 0)
        sizes = (status.st_ino, status.st_size, status.st_blocks)
        return _ATTRIBUTES.pack(*sizes, *(t // 10**9 for t in times), *(t % 10**9 for t in times), *numbers)

    def _getattr(self, node: int, data: bytes) -> bytes:
        flags, handle = struct.unpack_from("<I4xQ", data)
        if not flags & 1 and not os.path.lexists(self._paths[node]):
            flags, handle = 1, self._handles[node]
        return bytes(16) + self._packed(os.fstat(handle) if flags & 1 else os.lstat(self._paths[node]))

    def _setattr(self, node: int, data: bytes) -> bytes:
        valid, handle, size, atime, mtime, ans, mns, mode, uid, gid = struct.unpack_from("<I4xQQ8xQQ8xII4xI4xII", data)
        path = self._paths[node]
        target: int | str = handle if valid & 64 else path
        if valid & 1:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & 6:
            os.lchown(path, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(target, size)
        if valid & 48:
            now = os.lstat(path)
            times = atime * 10**9 + ans if valid & 16 else now.st_atime_ns, mtime * 10**9 + mns
            os.utime(path, ns=(times[0], times[1] if valid & 32 else now.st_mtime_ns), follow_symlinks=False)
        return bytes(16) + self._packed(os.fstat(handle) if valid & 64 else os.lstat(path))

    def _symlink(self, node: int, data: bytes) -> bytes:
        name, target = data.split(b"\0")[:2]
        path = self._new(node, name)
        os.symlink(target, path)
        return self._entry(path, node, name)

    def _mknod(self, node: int, data: bytes) -> bytes:
        mode, device = struct.unpack_from("<II", data)
        path = self._new(node, data[16:])
        os.mknod(path, mode, device)
        return self._entry(path, node, data[16:])

    def _mkdir(self, node: int, data: bytes) -> bytes:
        path = self._new(node, data[8:])
        os.mkdir(path, struct.unpack_from("<I", data)[0])
        return self._entry(path, node, data[8:])

    def _remove(self, remove: Callable[[str], None], path: str) -> None:
        status = os.lstat(path)
        remove(path)
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            self._forget(status)

    def _forget(self, removed: os.stat_result) -> None:
        """Let a file that was removed have no node: its number may be that of another file soon."""
        for key in [key for key in self._nodes if key[:2] == (removed.st_dev, removed.st_ino)]:
            del self._nodes[key]

    def _rename(self, node: int, data: bytes, names: int) -> None:
        (folder,) = struct.unpack_from("<Q", data)
        if names == 16 and struct.unpack_from("<I", data, 8)[0]:
            raise OSError(errno.EINVAL, "")
        old, new = data[names:].split(b"\0")[:2]
        source, target = self._below(node, old), self._below(folder, new)
        if os.path.lexists(target):
            replaced = os.lstat(target)
            os.rename(source, target)
            self._forget(replaced)
        else:
            os.rename(source, target)
        for each, path in self._paths.items():
            if path == source or path.startswith(f"{source}/"):
                self._paths[each] = target + path[len(source) :]

    def _link(self, node: int, data: bytes) -> bytes:
        path = self._new(node, data[8:])
        os.link(self._paths[struct.unpack_from("<Q", data)[0]], path)
        return self._entry(path, node, data[8:])

    @staticmethod
    def _opened(path: str, flags: int, mode: int = 0) -> bytes:
        # The kernel says where to write, and reads what it writes only a part of.
        readable = (flags & ~(os.O_ACCMODE | os.O_APPEND)) | (os.O_RDWR if flags & os.O_ACCMODE else os.O_RDONLY)
        return struct.pack("<QIi", os.open(path, readable & ~os.O_EXCL, mode), 0, 0)

    def _open(self, node: int, data: bytes) -> bytes:
        opened = self._opened(self._paths[node], struct.unpack_from("<I", data)[0] & ~(os.O_CREAT | os.O_TRUNC))
        (self._handles[node],) = struct.unpack_from("<Q", opened)
        return opened

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", data)
        path = self._below(node, data[16:])
        opened = self._opened(path, flags | os.O_CREAT, stat.S_IMODE(mode))
        entry = self._entry(path, node, data[16:])
        (self._handles[struct.unpack_from("<Q", entry)[0]],) = struct.unpack_from("<Q", opened)
        return entry + opened

    @staticmethod
    def _read(_: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(handle, size, offset)

    @staticmethod
    def _write(_: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return struct.pack("<I4x", os.pwrite(handle, data[40 : 40 + size], offset))

    def _statfs(self, _: int, __: bytes) -> bytes:
        at = os.statvfs(self._paths[_ROOT])
        counts = (at.f_blocks, at.f_bfree, at.f_bavail, at.f_files, at.f_ffree)
        return struct.pack("<5Q3I28x", *counts, at.f_bsize, at.f_namemax, at.f_frsize)

    def _opendir(self, node: int, _: bytes) -> bytes:
        self._listings[self._next] = [".", "..", *os.listdir(self._paths[node])]
        self._next += 1
        return struct.pack("<QIi", self._next - 1, 0, 0)

    def _releasedir(self, _: int, data: bytes) -> None:
        del self._listings[struct.unpack_from("<Q", data)[0]]

    def _readdir(self, node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        found = b""
        for at, name in enumerate(self._listings[handle][offset:], offset + 1):
            with contextlib.suppress(FileNotFoundError):
                status, encoded = os.lstat(os.path.join(self._paths[node], name)), os.fsencode(name)
                entry = struct.pack("<QQII", status.st_ino, at, len(encoded), status.st_mode >> 12) + encoded
                entry += bytes(-len(entry) % 8)
                if len(found) + len(entry) > size:
                    break
                found += entry
        return found
