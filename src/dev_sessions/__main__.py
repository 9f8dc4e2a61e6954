"""The program's beginning: of `python -m dev_sessions` and of the `dev-sessions` command."""

import signal

# Ctrl-C while modules are loaded, when there is nothing to undo and nobody to catch it, is the end without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from dev_sessions.cli import main

if __name__ == "__main__":
    main()
