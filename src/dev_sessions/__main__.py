"""`python -m dev_sessions`: the same as the `dev-sessions` command."""

from dev_sessions.cli import main

if __name__ == "__main__":
    main()
