"""The program's beginning: of `python -m dev_sessions` and of the `dev-sessions` command."""

import gc
import signal

# Ctrl-C while modules are loaded, when there is nothing to undo and nobody to catch it, is the end without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# Made for programs that run long: it would search what is loaded a dozen times for rubbish, in 3 ms.
gc.set_threshold(20_000)

from dev_sessions.cli import main

if __name__ == "__main__":
    main()
