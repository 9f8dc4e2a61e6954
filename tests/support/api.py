"""What the scripted model's server needs to know of an API, whichever it is."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.script import Item, Reply

Json = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """One server-sent event, and how many seconds the stream rests before it."""

    name: str
    data: Mapping[str, Any]
    pause: float = 0.0

    def encode(self) -> bytes:
        """The event's bytes on the wire."""
        return f"event: {self.name}\ndata: {json.dumps(self.data)}\n\n".encode()


class Api(Protocol):
    """An API that agents speak with their model: requests to conversations, replies to bytes. The modules
    `messages_api` and `responses_api` are of this shape."""

    def conversation(self, body: Json, /) -> list[Item]:
        """What was said in a request, less what the agent itself puts in among the user's words."""

    def whole(self, body: Json, reply: Reply, /) -> Json:
        """A reply to a request that does not stream."""

    def stream(self, body: Json, reply: Reply, /) -> Iterator[Frame]:
        """A reply as a stream of events."""

    def error(self, status: int, message: str, /) -> Json:
        """The body of an HTTP error."""


def tokens(text: str) -> int:
    """A plausible number of tokens for the usage figures."""
    return 1 + len(text) // 4


def new_id(kind: str) -> str:
    """An id that was never given before, also by an earlier process, and is greater than all of its kind."""
    return f"{kind}_{next(_numbers):024d}"


_numbers = itertools.count(time.time_ns())
