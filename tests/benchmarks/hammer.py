"""Send a server the same request over and over, and print how many answers per second it gave.

Arguments: port, path, connections, seconds. Started as a program of its own, so that it shares no interpreter.
"""

import socket
import sys
import threading
import time


def ask(port: int, path: str, until: float, answers: list[int]) -> None:
    """Send the request repeatedly, over a connection each; raises AssertionError when an answer is not a success."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    count = 0
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert b'"ok": true' in answer, answer
        count += 1
    answers.append(count)


if __name__ == "__main__":
    port, path, connections, seconds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    answers: list[int] = []
    began = time.monotonic()
    threads = [threading.Thread(target=ask, args=(port, path, began + seconds, answers)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == connections
    print(sum(answers) / (time.monotonic() - began))
