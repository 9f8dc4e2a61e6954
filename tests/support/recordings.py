"""Recorded traffic between dev-sessions and the app-server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dev_sessions.codex import jsonrpc, protocol
from dev_sessions.codex.jsonrpc import Notification, Response
from dev_sessions.codex.protocol import ThreadStatus, Turn

DATA = Path(__file__).parents[1] / "data" / "codex"


class Recording:
    """The recorded traffic of one flow."""

    def __init__(self, version: str, flow: str) -> None:
        lines = [json.loads(line) for line in (DATA / version / f"{flow}.jsonl").read_text().splitlines()]
        # A recording that was cut ends in a note.
        self._lines = [line for line in lines if "frame" in line]

    def received(self) -> Iterator[str]:
        """Return the text of each frame that the app-server sent."""
        return (json.dumps(line["frame"]) for line in self._lines if line["dir"] == "recv")

    def events(self) -> list[Notification]:
        """Return every notification, in order."""
        frames = [jsonrpc.parse(text) for text in self.received()]
        return [frame for frame in frames if isinstance(frame, Notification)]

    def answers(self, method: str) -> list[Response]:
        """Return the responses to every request of a method, in order."""
        found = []
        asked: dict[tuple[str, int], str] = {}
        for line in self._lines:
            frame = line["frame"]
            if line["dir"] == "send" and "method" in frame:
                asked[line["conn"], frame.get("id")] = frame["method"]
            elif "method" not in frame and asked.get((line["conn"], frame.get("id"))) == method:
                answer = jsonrpc.parse(json.dumps(frame))
                assert isinstance(answer, Response)
                found.append(answer)
        return found

    def history(self) -> list[Turn]:
        """Return the turns of the last answer that has any, newest first."""
        return next(history for history in reversed(self.histories()) if history)

    def histories(self) -> list[list[Turn]]:
        """Return the turns of each answer that may have any, newest first."""
        threads = [answer.result["thread"] for answer in self.answers("thread/read") if not answer.error]
        return [[protocol.turn(raw) for raw in reversed(thread["turns"])] for thread in threads]

    def status(self) -> ThreadStatus:
        """Return the status in the last response that has one."""
        return [protocol.read_status(answer.result) for answer in self.answers("thread/read") if not answer.error][-1]
