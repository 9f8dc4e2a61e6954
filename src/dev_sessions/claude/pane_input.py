"""The input of a tmux pane: keys and pastes, which reach the program in this pane alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dev_sessions.claude.tmux import Tmux, failed, unaliased
from dev_sessions.errors import ProtocolError
from dev_sessions.system.programs import Completed

#: Characters of the condition in one command; tmux takes 16 KB (3.3a).
_MAX_CONDITION = 8000


class PaneInput:
    """The input of the pane `target`. `buffer` is the name of the tmux buffer for its pastes."""

    def __init__(self, tmux: Tmux, target: str, buffer: str) -> None:
        self._tmux = tmux
        self._pane = ["-t", target]
        self._buffer = buffer

    def load(self, text: str) -> None:
        """Put a text into the buffer. Raises ProtocolError.

        The text travels on standard input: no process's arguments show it, and its size is not limited. It is pasted by
        a separate call: if this command were killed while it writes, tmux would paste the part that it has.
        """
        done = self._tmux.run(["load-buffer", "-b", self._buffer, "-"], stdin=text.encode("utf-8", "surrogateescape"))
        if done.code != 0:
            raise failed("tmux could not take the text", done)

    def raw_paste(self) -> list[str]:
        """Return the options with which `paste-buffer` sends the bytes of a buffer as they are.

        From 3.7 on, it writes control characters as `^[` otherwise; before, it has no such option. Raises ProtocolError
        when tmux does not say which it is.
        """
        done = self._tmux.run(["list-commands", "-F", "#{command_list_usage}", "paste-buffer"])
        if done.code != 0:
            raise failed("tmux does not say how it pastes", done)
        return ["-r", "-S"] if re.match(r"\[-[a-z]*S", done.stdout) else ["-r"]

    def paste(self, *, enter: bool, preamble: str | None = None, options: Sequence[str] = ("-p",)) -> None:
        """Paste the buffer in one piece, and press Enter if `enter` is set.

        By default it is bracketed if the program asks for it. `preamble` is pasted before it, as a paste of its own.
        After a ProtocolError or TimeoutError it may have been pasted: a server that hangs runs the command later, even
        if its client was killed (3.3a).
        """
        command = self._paste_command(*options)
        if preamble is not None:
            first = f"{self._buffer}-preamble"
            paste = ["paste-buffer", "-p", "-d", *self._pane, "-b", first]
            command = ["set-buffer", "-b", first, "--", preamble, ";", *paste, ";", *command]
        if enter:
            command += [";", *self._press_command("Enter")]
        done = self._run(command)
        if done.code != 0:
            self._delete_buffer()
            raise ProtocolError(f"tmux could not paste: {done.stderr.strip() or f'exit code {done.code}'}; try again")

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names for them."""
        self._run(self._press_command(*keys))

    def press_if(self, rows: Sequence[str], cursor: tuple[int, int], *keys: str) -> bool:
        """Press keys if the screen shows these rows and this cursor; return whether they were pressed."""
        return self._run_if(rows, cursor, self._press_command(*keys))

    def paste_if(self, rows: Sequence[str], cursor: tuple[int, int]) -> bool:
        """Paste the buffer if the screen shows these rows and this cursor; return whether it was pasted.

        Newlines are pasted as they are: the field of a question keeps the carriage return that tmux has for them
        otherwise (2.1.332).
        """
        if self._run_if(rows, cursor, self._paste_command("-p", "-r")):
            return True
        self._delete_buffer()
        return False

    def _press_command(self, *keys: str) -> list[str]:
        return ["send-keys", *self._pane, *keys]

    def _paste_command(self, *options: str) -> list[str]:
        return ["paste-buffer", *options, "-d", *self._pane, "-b", self._buffer]

    def _delete_buffer(self) -> None:
        self._tmux.run(["delete-buffer", "-b", self._buffer])

    def _run_if(self, rows: Sequence[str], cursor: tuple[int, int], command: Sequence[str]) -> bool:
        """Run a tmux command if the screen shows these rows and this cursor; return whether it ran.

        Its words have no quotation marks. tmux checks and runs it in one step, so nothing can be drawn in between.
        """
        column, row = cursor
        conditions = [f"#{{==:#{{cursor_x}},{column}}}", f"#{{==:#{{cursor_y}},{row}}}"]
        conditions += [f"#{{C/r:{pattern}}}" for pattern in _patterns(rows)]
        then = _quoted(unaliased([*command, ";", "display-message", "-p", "done"]))
        done = self._run(["if-shell", "-F", *self._pane, _all_of(conditions), then])
        if done.code != 0:
            raise failed("tmux could not press a key", done)
        return done.stdout.strip() == "done"

    def _run(self, command: Sequence[str]) -> Completed:
        """Run a tmux command whose keys reach the program in this pane alone.

        A mode of tmux's own, which would take the keys, is left: copy mode, after somebody scrolled, or view mode, with
        the errors of a tmux.conf (3.2a to 3.7). With `synchronize-panes`, other panes of the window would get them,
        too.
        """
        own_keys = ["set-option", "-p", "-q", *self._pane, "synchronize-panes", "off"]
        return self._tmux.run(["copy-mode", "-q", *self._pane, ";", *own_keys, ";", *command])


def _quoted(commands: Sequence[str]) -> str:
    """Return commands of tmux as the one argument of another command."""
    return " ".join(word if word == ";" else f"'{word}'" for word in commands)


def _all_of(conditions: Sequence[str]) -> str:
    """Return a format that is true when all conditions are.

    `&&` takes two, and formats nest at most 100 deep.
    """
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    return f"#{{&&:{_all_of(conditions[:half])},{_all_of(conditions[half:])}}}"


def _patterns(rows: Sequence[str]) -> list[str]:
    """Return regular expressions that match rows of a screen: the last rows, as many as fit in one tmux command.

    They contain no character that is special in a format or a regular expression, and none that depends on the server's
    locale.
    """
    found: list[str] = []
    size = 0
    for row in reversed(rows):
        if row.strip():
            pattern = re.sub(r"[^\x00-\x7f]+", "\0", row.rstrip(" "))
            pattern = re.sub(r"[^A-Za-z0-9 \0]", ".", pattern).replace("\0", ".+")
            size += len(pattern)
            if size > _MAX_CONDITION:
                break
            found.append(f"^{pattern}$")
    return found
