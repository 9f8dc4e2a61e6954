"""A program that runs `dev-sessions` with a store whose disk is full."""

from __future__ import annotations

#: Where nothing can be mounted: each temporary file of the store is the device that is always full, but for the first
#: of them, as many as ROOM_FOR says.
ON_DEV_FULL = (
    "import os\n"
    "make, room = os.open, [None] * int(os.environ.get('ROOM_FOR', 0))\n"
    "def full(path, *rest, **more):\n"
    "    made = make(path, *rest, **more)\n"
    "    if '/.sessions.json.' in str(path):\n"
    "        room.pop() if room else os.dup2(make('/dev/full', os.O_WRONLY), made)\n"
    "    return made\n"
    "os.open = full\n"
    "from dev_sessions.cli import main\n"
    "main()\n"
)
