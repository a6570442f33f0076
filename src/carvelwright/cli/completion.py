"""What a shell offers for an unfinished option: quick, and silent where the project is broken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click


def releases(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the versions of the release files."""
    from carvelwright.project import config  # noqa: PLC0415 - `carvelwright --version` needs none of it

    places = [directory / config.RELEASES_DIRECTORY for directory in _directories(ctx)]
    return sorted({file.stem for place in places for file in place.glob("*.yaml") if file.stem.startswith(incomplete)})


def platforms(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the packages' platforms."""
    lists = [listed for data in _builds(ctx) if isinstance(listed := data.get("platforms"), list)]
    names = dict.fromkeys(name for listed in lists for name in listed if isinstance(name, str))
    return [name for name in names if name.startswith(incomplete)]


def packages(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the short names of the packages."""
    names = [str(data.get("refName", "")).partition(".")[0] for data in _builds(ctx)]
    return [name for name in names if name and name.startswith(incomplete)]


def _builds(ctx: click.Context) -> Iterator[Mapping[str, Any]]:
    from carvelwright import yamldoc  # noqa: PLC0415
    from carvelwright.errors import CarvelwrightError  # noqa: PLC0415
    from carvelwright.project import config  # noqa: PLC0415

    for directory in _directories(ctx):
        try:
            data = yamldoc.load(directory / config.BUILD_FILE).data
        except CarvelwrightError:
            continue
        if isinstance(data, dict):
            yield data


def _directories(ctx: click.Context) -> list[Path]:
    from carvelwright.project import paths  # noqa: PLC0415

    root = getattr(ctx.obj, "root", None)
    return paths.directories(root if isinstance(root, Path) else Path())
