"""What a shell offers for an unfinished option: quick, and silent where the project is broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def releases(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the versions of the project's release files."""
    from carvelwright.project import config  # noqa: PLC0415 - `carvelwright --version` needs none of it

    files = (_root(ctx) / config.RELEASES_DIRECTORY).glob("*.yaml")
    return sorted(file.stem for file in files if file.stem.startswith(incomplete))


def platforms(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the project's platforms."""
    from carvelwright import yamldoc  # noqa: PLC0415
    from carvelwright.errors import CarvelwrightError  # noqa: PLC0415
    from carvelwright.project import config  # noqa: PLC0415

    try:
        data = yamldoc.load(_root(ctx) / config.BUILD_FILE).data
    except CarvelwrightError:
        return []
    listed = data.get("platforms") if isinstance(data, dict) else None
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in names if name.startswith(incomplete)]


def _root(ctx: click.Context) -> Path:
    root = getattr(ctx.obj, "root", None)
    return root if isinstance(root, Path) else Path()
