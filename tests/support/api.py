"""The interface of an API for the scripted model's server."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.script import Failure, Item, Reply

Json = dict[str, Any]
HttpError = tuple[Mapping[str, str], Json]


@dataclass(frozen=True)
class Frame:
    """A server-sent event, and the seconds by which the stream pauses before it."""

    name: str
    data: Mapping[str, Any]
    pause: float = 0.0

    def encode(self) -> bytes:
        """Return the event's bytes on the wire."""
        return f"event: {self.name}\ndata: {json.dumps(self.data)}\n\n".encode()


class Api(Protocol):
    """An API between agents and their model: it parses requests to conversations, and encodes replies. The modules
    `messages_api` and `responses_api` have this shape."""

    def conversation(self, body: Json, /) -> list[Item]:
        """Return the conversation in a request, without what the agent adds to the user's words."""

    def whole(self, body: Json, reply: Reply, /) -> Json:
        """Return the reply to a request that does not stream."""

    def stream(self, body: Json, reply: Reply, /) -> Iterator[Frame]:
        """Return a reply as a stream of events."""

    def error(self, failure: Failure, /) -> HttpError:
        """Return the headers and the body of an HTTP error."""


def tokens(text: str) -> int:
    """Return a plausible number of tokens for the usage figures."""
    return 1 + len(text) // 4


def new_id(kind: str) -> str:
    """Return an id that is unique, also among earlier processes, and greater than all before it of its kind."""
    return f"{kind}_{next(_numbers):024d}"


_numbers = itertools.count(time.time_ns())
