"""Codex: its app-server's protocol, a client for it, and the one app-server that our sessions share."""
