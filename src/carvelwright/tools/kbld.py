"""kbld: finds the images of manifests, by its own rules and those of the Config documents among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from carvelwright import process, yamldoc
from carvelwright.errors import InputError, ToolFailedError
from carvelwright.tools.tool import list_item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carvelwright.tools.tool import Tool

_SECONDS = 300.0
_HINT = "correct the kbld Config document that kbld names above"


def images(tool: Tool, manifests: bytes, *, step: str) -> list[str]:
    """Return every image that kbld would resolve in manifests, as they write it, sorted. No registry is asked."""
    return _images(tool, ("-f", "-"), manifests, step)


def keep_images(tool: Tool, paths: Sequence[Path | None], directory: Path, *, step: str, stdin: bytes = b"") -> bytes:
    """Return the documents of files, directories and standard input (None), as kbld does, with the images as they are.

    No registry is asked. `directory` takes kbld's files.
    """
    sources = [argument for path in paths for argument in ("-f", "-" if path is None else list_item(path))]
    names = _images(tool, sources, stdin, step)
    config = directory / "names.json"
    # What is taken for resolved is not looked for.
    overrides = [{"image": name, "newImage": name, "preresolved": True} for name in names]
    document = {"apiVersion": "kbld.k14s.io/v1alpha1", "kind": "Config", "overrides": overrides}
    config.write_text(json.dumps(document))
    options = ("--build=false", "--images-annotation=false", "--origins-annotation=false")
    return _run(tool, [*sources, "-f", list_item(config), *options], stdin, step)


def _images(tool: Tool, sources: Sequence[str], stdin: bytes, step: str) -> list[str]:
    # An image may be any text here, also one that is no image: the Go writer of this list quotes it as YAML has it.
    output = _run(tool, [*sources, "--unresolved-inspect"], stdin, step)
    return [entry["image"] for entry in yamldoc.parse(output.decode(), Path("kbld")).data or []]


def _run(tool: Tool, arguments: Sequence[str], stdin: bytes, step: str) -> bytes:
    argv = tool.argv(*arguments)
    try:
        return process.run(
            argv, step=step, env=tool.environment, stdin=stdin, timeout=_SECONDS, memory=process.MEMORY
        ).stdout
    except ToolFailedError as error:
        if error.code is None or error.code < 0:
            raise
        raise InputError(
            f"step {step}: kbld refused the manifests",
            details=error.stderr.strip(),
            hint=_HINT,
            step=step,
        ) from error
