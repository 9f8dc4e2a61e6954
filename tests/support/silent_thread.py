"""A real app-server of Codex that responds to no request about one thread."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect
from websockets.sync.server import ServerConnection, unix_serve

from tests.support.home import Home


@contextlib.contextmanager
def silent_about(home: Home, thread_id: str) -> Iterator[None]:
    """Inside, put a proxy before a home's app-server that drops every request about a thread.

    Codex 0.171 is so for ever when a request comes at the moment at which it unloads the thread; only `thread/list`
    still shows it (one of 10 to 60 tries, with `thread_unload_delay_secs = 1` and a `turn/steer` 1.02 s after the end
    of a turn).
    """
    state_file = home.path / ".dev-sessions" / "codex" / "state.json"
    state = json.loads(state_file.read_text())
    proxy = home.path / "p.sock"

    def handle(client: ServerConnection) -> None:
        with unix_connect(state["address"].removeprefix("unix://"), max_size=None) as server:
            back = threading.Thread(target=_forward_all, args=(server, client))
            back.start()
            with contextlib.suppress(ConnectionClosed):
                for message in client:
                    if json.loads(message).get("params", {}).get("threadId") != thread_id:
                        server.send(message)
            server.close()
            back.join()

    with unix_serve(handle, str(proxy), max_size=None) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        state_file.write_text(json.dumps({**state, "address": f"unix://{proxy}"}))
        try:
            yield
        finally:
            state_file.write_text(json.dumps(state))
            served.shutdown()
            thread.join()


def _forward_all(server: ClientConnection, client: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        for message in server:
            client.send(message)
