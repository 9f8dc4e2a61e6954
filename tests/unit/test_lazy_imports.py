"""Deferred imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEFT_OUT = """
with unloaded("colorsys"):
    import colorsys
assert "colorsys" not in sys.modules
assert "ONE_SIXTH" not in vars(colorsys)
"""
ASKED_FOR = """
with unloaded("colorsys"):
    import colorsys as early
    assert early.ONE_SIXTH == 1 / 6
import colorsys
assert colorsys.hls_to_rgb is early.hls_to_rgb
"""
ASKED_LATER = """
with unloaded("colorsys"):
    import colorsys as early
import colorsys
assert colorsys.hls_to_rgb is early.hls_to_rgb
"""
LOADED_BEFORE = """
import colorsys as before
with unloaded("colorsys"):
    import colorsys
    assert colorsys is before
assert sys.modules["colorsys"] is before
"""


@pytest.mark.parametrize("script", [LEFT_OUT, ASKED_FOR, ASKED_LATER, LOADED_BEFORE])
def test_a_module_that_is_left_out_is_there_when_it_is_asked_for(script: str) -> None:
    """The module is loaded when an attribute of it is read, and works as usual."""
    code = f"import sys\nfrom dev_sessions.system.lazy_imports import unloaded\n{script}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
