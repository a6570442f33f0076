"""The adapters with the real tools: what hostile input and odd arguments do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ExitCode
from carvelwright.tools import ytt

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain

ENDLESS = """
#@ def spin():
#@   for i in range(1000000000):
#@     x = i
#@   end
#@ end
a: #@ spin()
"""


def test_a_template_that_does_not_end_is_stopped_and_told(toolset: Toolchain, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").write_text(ENDLESS)
    with pytest.raises(CarvelwrightError) as caught:
        ytt.render(toolset.ytt, tmp_path, step="render", timeout=1)
    assert caught.value.message == "step render: ytt did not end within 1 s and was stopped"
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.hint
    assert "loop" in caught.value.hint
