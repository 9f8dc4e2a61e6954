"""Codex: the protocol of its app-server, a client for it, and the app-server that all sessions share."""
