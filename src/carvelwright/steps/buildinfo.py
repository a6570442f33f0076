"""What the binaries of an image say of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright import recipe
from carvelwright.store import Store, content_key
from carvelwright.supply.modules import BuildInfo
from carvelwright.tools import buildinfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from carvelwright.steps.payload import PayloadBinary
    from carvelwright.tools.tool import Tool


_STEP = "read build information"


def of_binary(root: Path, binary: PayloadBinary, *, find_go: Callable[[], Tool]) -> BuildInfo:
    """Return a binary's build information, read once for each content. `root` is the workspace's."""

    def read() -> str:
        return buildinfo.build_info(find_go(), binary.path, step=_STEP)

    key = content_key(str(binary.digest), recipe.of("buildinfo"))
    return BuildInfo.parse(Store(root).remember("buildinfo", key, read))
