"""macOS as far as Linux can simulate it: Python that takes itself for one of macOS, and stand-ins for its programs.

`tests/run --darwin` runs tests with it. What it can't show is listed in tests/MACOS.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

#: For a test of what a real agent of Linux writes about itself.
not_simulated = pytest.mark.skipif(
    sys.platform == "darwin" and os.path.exists("/proc/self/stat"), reason="the agents are those of Linux"
)
_PLACE = Path(__file__).parent


def is_simulated() -> bool:
    """Return whether this Python takes itself for one of macOS, and is not."""
    return sys.platform == "darwin" and os.path.exists("/proc/self/stat")


def simulation(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that have the programs started with an environment run on the simulated macOS."""
    path = environment.get("PATH", os.defpath)
    return {"PATH": os.pathsep.join([str(_PLACE / "bin"), path]), "PYTHONPATH": str(_PLACE / "site")}


def system_path() -> str:
    """Return a PATH with the system's programs alone, those of the simulated macOS first if it is simulated."""
    path = "/usr/bin:/bin"
    return simulation({"PATH": path})["PATH"] if is_simulated() else path


def sitecustomize(code: str) -> str:
    """Return the content of a sitecustomize.py that runs code, after what simulates macOS if that is simulated now."""
    simulate = f"exec(open({str(_PLACE / 'site' / 'sitecustomize.py')!r}).read(), {{}})\n"
    return simulate + code if is_simulated() else code
