"""What commands say of a publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carvelwright.cli import tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carvelwright.uses.commit import Published, PublishedPackage


def summary(published: Published, width: int | None) -> list[str]:
    """Say what was published and what comes next; `width` is that of the terminal, None where there is none."""
    repository = published.repository
    head = f"published to {repository.repository}" if published.changed else "already there: nothing was changed"
    rows = [row for package in published.packages for row in _rows(package)]
    names = dict.fromkeys(package.ref_name for package in published.packages)
    rows.append(("repository", str(repository), ""))
    if published.signed:
        rows.append(("signed", f"{len(published.signed)} digests", ""))
    return [
        head,
        *tables.lay_out(rows, width),
        "",
        "next, in a cluster:",
        f"  tanzu package repository add REPOSITORY --url {repository.repository} -n my-packages",
        *(f"  tanzu package available list {ref_name} -n my-packages" for ref_name in names),
    ]


def _rows(package: PublishedPackage) -> Iterator[tuple[str, str, str]]:
    yield f"package {package.ref_name}", package.version, "added" if package.added else "already there"
    yield "bundle", str(package.bundle or "not fetched by digest"), ""
    for image in package.images:
        yield "image", str(image), ""
