"""kbld: finds the images of manifests and locks them by digest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carvelwright import process
from carvelwright.carvel.locks import ImagesLock
from carvelwright.tools import lockfile
from carvelwright.tools.tool import list_item

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carvelwright.reference import Reference
    from carvelwright.tools.tool import Tool

_SECONDS = 300.0


def lock(tool: Tool, manifests: bytes, images: Mapping[str, Reference], directory: Path, *, step: str) -> ImagesLock:
    """Lock the images of manifests: every name of `images` to its reference by digest, without asking a registry.

    `directory` takes kbld's files.
    """
    config = {
        "apiVersion": "kbld.k14s.io/v1alpha1",
        "kind": "Config",
        "overrides": [
            {"image": name, "newImage": str(reference), "preresolved": True}
            for name, reference in sorted(images.items())
        ],
    }
    (directory / "kbld.json").write_text(json.dumps(config))
    target = directory / "images.yml"
    process.run(
        tool.argv("-f", "-", "-f", list_item(directory / "kbld.json"), "--imgpkg-lock-output", target),
        step=step,
        env=tool.environment,
        stdin=manifests,
        timeout=_SECONDS,
        memory=process.MEMORY,
    )
    return lockfile.read(ImagesLock.parse, target, "kbld", step=step)
