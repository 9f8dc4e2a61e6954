"""The gateway: the same operations over HTTP, for agents in containers."""
