"""Measure the gateway: requests per second, and many simultaneous waits."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

from dev_sessions.system.deadline import Deadline, poll
from tests.benchmarks import hammer
from tests.benchmarks.byhand import end_of_turn
from tests.benchmarks.harness import PROGRAM, Bench, Rate, Row

_WAITS = 200
_CONNECTIONS = 4
_ROUNDS = 5


def measure(bench: Bench) -> Iterator[Row | Rate]:
    """Measure a gateway on a free port of loopback, as the host of two sessions."""
    bench.cli("create", "--id", "bench-claude")
    bench.cli("create", "--cli", "codex", "--id", "bench-codex")
    # A file takes its log; a pipe would be full soon.
    log = bench.home.path / "gateway.log"
    bench.home.popen("sh", "-c", f'exec "{PROGRAM}" gateway --port 0 > "{log}"')
    line = poll(lambda: log.read_text() if log.exists() and log.read_text().endswith("\n") else None, Deadline(30))
    assert line is not None
    port = int(line.split()[-1])
    for agent in ("claude", "codex"):
        rates = [_rate(bench, port, f"/status?id=bench-{agent}") for _ in range(_ROUNDS)]
        yield Rate(f"gateway: GET /status, {agent}", rates, 500)
    yield Rate("gateway: GET /health", [_rate(bench, port, "/health") for _ in range(_ROUNDS)], 0)
    for agent in ("claude", "codex"):
        yield _many_waits(bench, port, agent)


def _rate(bench: Bench, port: int, path: str) -> float:
    arguments = (str(port), path, str(_CONNECTIONS), "2")
    done = bench.home.run(sys.executable, "-S", "-I", hammer.__file__, *arguments)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def _many_waits(bench: Bench, port: int, agent: str) -> Row:
    """Return a row with the seconds from the end of the turn to the last answer."""
    sid = f"bench-{agent}"
    lags = []
    for _ in range(_ROUNDS):
        bench.cli("send", sid, "after 3 say an answer")
        with ExitStack() as stack, end_of_turn(bench, agent, sid) as seen:
            connections = [stack.enter_context(_waiting(port, sid)) for _ in range(_WAITS)]
            for connection in connections:
                _read_answer(connection)
            last = time.time()
        lags.append(last - seen[0])
    return Row(f"gateway: {_WAITS} waits at once, {agent}: the end of the turn to the last answer", lags)


def _waiting(port: int, sid: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"GET /wait?id={sid}&timeout=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


def _read_answer(connection: socket.socket) -> None:
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"completed": true' in answer, answer
