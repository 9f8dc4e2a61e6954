"""Claude Code: its tmux session, its transcript and its own record of what it does."""
