"""An MCP server over stdio whose tool `elicit` has the client ask its user, in one of several forms."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.home import Home

FORMS: dict[str, dict[str, Any]] = {
    "confirm": {"message": "Really deploy?", "requestedSchema": {"type": "object", "properties": {}}},
    "url": {"mode": "url", "elicitationId": "e1", "url": "https://localhost/grant", "message": "Please authorise"},
    "form": {
        "message": "Who are you?",
        "requestedSchema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "title": "Your name", "description": "As on the badge"},
                "colour": {"type": "string", "title": "Colour", "enum": ["red", "blue", "green"]},
                "sure": {"type": "boolean", "title": "Sure?"},
                "count": {"type": "integer", "title": "Count", "minimum": 1, "maximum": 9},
                "many": {
                    "type": "array",
                    "title": "Many",
                    "items": {"type": "string", "enum": ["x", "y", "z"]},
                },
            },
            "required": ["name", "colour"],
        },
    },
}


def add_server(home: Home) -> None:
    """Add this server to the user's configuration of Claude, as `made`."""
    path = home.path / ".claude.json"
    arguments = ["-m", "tests.support.elicitation"]
    root = str(Path(__file__).resolve().parents[2])
    server = {"type": "stdio", "command": sys.executable, "args": arguments, "env": {"PYTHONPATH": root}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "mcpServers": {"made": server}}))


def add_server_to_codex(home: Home) -> None:
    """Add this server to the user's configuration of Codex, as `made`."""
    path = home.path / ".codex" / "config.toml"
    root = str(Path(__file__).resolve().parents[2])
    server = (
        f'[mcp_servers.made]\ncommand = "{sys.executable}"\nargs = ["-m", "tests.support.elicitation"]\n'
        f'env = {{ PYTHONPATH = "{root}" }}\n'
    )
    path.write_text(f"{path.read_text()}\n{server}")


def _send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def main() -> None:
    """Serve until the client is gone; the tool's result is the user's answer."""
    open_calls: dict[str, object] = {}
    for line in sys.stdin:
        request = json.loads(line)
        asked = request.get("id")
        match request.get("method"):
            case "initialize":
                version = request["params"]["protocolVersion"]
                about = {"protocolVersion": version, "capabilities": {"tools": {}}}
                _send({"id": asked, "result": {**about, "serverInfo": {"name": "made", "version": "1"}}})
            case "tools/list":
                schema = {"type": "object", "properties": {"form": {"type": "string"}}}
                tool = {"name": "elicit", "description": "Ask", "inputSchema": schema}
                _send({"id": asked, "result": {"tools": [tool]}})
            case "tools/call":
                open_calls[f"asked-{asked}"] = asked
                form = FORMS[request["params"]["arguments"]["form"]]
                _send({"id": f"asked-{asked}", "method": "elicitation/create", "params": form})
            case None if asked in open_calls:
                text = json.dumps(request.get("result", request.get("error")), sort_keys=True)
                _send({"id": open_calls.pop(asked), "result": {"content": [{"type": "text", "text": text}]}})
            case None:
                pass
            case _ if asked is not None:
                _send({"id": asked, "result": {}})


if __name__ == "__main__":
    main()
