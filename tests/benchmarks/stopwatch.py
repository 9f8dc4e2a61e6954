"""Run command lines and report the duration and the memory of each run.

Started as a program of its own: a process counts its parent's memory at its start in its own peak, so its parent has to
be small. Standard input: a JSON array of command lines. Argument: how often to run them, in turn. Output, for each
command line: an array of `[seconds, end (epoch), peak KiB, exit code]`.
"""

import json
import os
import sys
import time

KIB = 1024 if sys.platform == "darwin" else 1


def timed(argv: list[str]) -> tuple[float, float, int, int]:
    """Run a command line to its end, with nothing on its standard input and output."""
    silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    began = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=silent)
    _, status, usage = os.wait4(pid, 0)
    seconds, ended = time.perf_counter() - began, time.time()
    return seconds, ended, usage.ru_maxrss // KIB, os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    rounds = [[timed(argv) for argv in commands] for _ in range(int(sys.argv[1]))]
    print(json.dumps(list(zip(*rounds, strict=True))))
