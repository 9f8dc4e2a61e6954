"""Print processes as Apple's `ps` does, from /proc: run by `bin/ps`.

Written from ps(1) of macOS: `lstart` follows LC_TIME and TZ; `command` is followed by the name of the program in
parentheses where its first word does not end with it; control characters are escaped as by vis(3), and
bytes beyond ASCII in a locale that is not UTF-8; -E appends the environment of this user's processes.
"""

import os
import pwd
import sys
import time

_LOCALE = ("LC_ALL", "LC_{}", "LANG")
_CLOCK = os.sysconf("SC_CLK_TCK")
_STATES = {"R": "R", "S": "S", "D": "U", "T": "T", "t": "T", "Z": "Z", "I": "I"}


def locale(category: str) -> str:
    """Return the locale of a category, by the environment."""
    for name in _LOCALE:
        if value := os.environ.get(name.format(category)):
            return value
    return "C"


def read(pid: int, file: str) -> bytes:
    """Return a file of a process, or nothing."""
    try:
        with open(f"/proc/{pid}/{file}", "rb") as stream:
            return stream.read()
    except OSError:
        return b""


def boot_time() -> float:
    """Return when the machine was started, in seconds since the epoch."""
    with open("/proc/stat", encoding="ascii") as lines:
        return next(float(line.split()[1]) for line in lines if line.startswith("btime"))


def visible(text: bytes) -> str:
    """Escape a text as the locale demands."""
    printable = "".join(chr(byte) if byte >= 32 else f"^{chr(byte + 64)}" for byte in text)
    if locale("CTYPE").upper().endswith(("UTF-8", "UTF8")):
        return printable.encode("latin-1").decode(errors="replace")
    return "".join(letter if letter.isascii() else f"M-{chr(ord(letter) & 127)}" for letter in printable)


def command(pid: int, comm: bytes, *, environment: bool) -> str:
    """Return the command line of a process, perhaps with its environment."""
    words = [word for word in read(pid, "cmdline").split(b"\0") if word]
    if not words:
        return f"({visible(comm)})"
    found = b" ".join(words)
    if environment and os.stat(f"/proc/{pid}").st_uid == os.getuid():
        found += b" " + b" ".join(word for word in read(pid, "environ").split(b"\0") if word)
    suffix = "" if os.path.basename(words[0]).lstrip(b"-").startswith(comm[:15]) else f" ({visible(comm)})"
    return visible(found) + suffix


def started(ticks: int) -> str:
    """Return when a process was started."""
    at = time.localtime(boot_time() + ticks / _CLOCK)
    is_c = locale("TIME").partition(".")[0] in ("C", "POSIX", "UTF-8", "")
    return time.strftime("%a %b %d %H:%M:%S %Y" if is_c else "%d. %b. %H:%M:%S %Y %a", at)


def main(arguments: list[str]) -> int:
    """Print the columns of -o for all processes (-A), those of a user (-U) or those listed (-p)."""
    columns, pids, user, environment = ["pid=", "command="], None, None, False
    options = iter(arguments)
    for option in options:
        match option:
            case "-o":
                columns = next(options).split(",")
            case "-p":
                pids = [int(pid) for pid in next(options).split(",")]
            case "-U":
                name = next(options)
                user = int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid
            case "-E":
                environment = True
            case "-A" | "-ww":
                pass
            case _:
                print(f"ps: illegal option -- {option.lstrip('-')}", file=sys.stderr)
                return 1
    shown = 0
    for pid in pids if pids is not None else sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        head, _, tail = read(pid, "stat").rpartition(b")")
        fields = tail.decode().split()
        try:
            owner = os.stat(f"/proc/{pid}").st_uid
        except OSError:
            continue
        if not fields or (user is not None and owner != user):
            continue
        comm = head.partition(b"(")[2]
        values = {
            "pid=": f"{pid:5}",
            "ppid=": f"{fields[1]:>5}",
            "pgid=": f"{fields[2]:>5}",
            "stat=": f"{_STATES.get(fields[0], 'S'):4}",
            "lstart=": started(int(fields[19])),
            "command=": command(pid, comm, environment=environment),
        }
        print(" ".join(values[column] for column in columns))
        shown += 1
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
