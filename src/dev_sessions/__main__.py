"""The program's beginning: of `python -m dev_sessions` and of the `dev-sessions` command."""

import gc
import os
import signal
import sys

# Ctrl-C while modules are loaded, when there is nothing to undo and nobody to catch it, is the end without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# File names, arguments and messages are UTF-8 whatever the locale; otherwise they would be stored and typed as other
# characters. Python does this by itself in the C locale, and from 3.15 on in all.
if sys.getfilesystemencoding() != "utf-8":
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])

# Made for programs that run long: it would search what is loaded a dozen times for rubbish, in 3 ms.
gc.set_threshold(50_000)

from dev_sessions.cli import main

if __name__ == "__main__":
    main()
