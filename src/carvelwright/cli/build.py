"""carvelwright build."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from carvelwright.cli import completion, failures, options, progress, publishing, tables
from carvelwright.plan import BuildOptions, make_plan
from carvelwright.platform import Platform
from carvelwright.process import stopwatch
from carvelwright.reference import Repository
from carvelwright.report import readable_size
from carvelwright.uses import incremental

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carvelwright.cli.options import Context
    from carvelwright.record import PackageRecord, ReleaseRecord
    from carvelwright.uses.incremental import BuildResult


@options.command("build")
@options.packages
@options.release
@options.option(
    "--platform",
    "platforms",
    multiple=True,
    type=options.Parsed("OS/ARCH", Platform.parse),
    shell_complete=completion.platforms,
    help="Build only for this platform; may be repeated.  [default: the platforms of package/build.yaml]",
)
@options.option(
    "--to",
    type=options.Parsed("REGISTRY/PATH", Repository.parse),
    help="Publish what was built to this registry, as `carvelwright publish` does.",
)
@options.option("--wait", is_flag=True, help="Wait until another build of this project has ended.")
@options.option("--dry-run", is_flag=True, help="Print the plan without building.")
@options.of_registry
@click.pass_obj
def command(  # noqa: PLR0913 - click hands over each option
    context: Context,
    names: tuple[str, ...],
    release: str | None,
    platforms: tuple[Platform, ...],
    to: Repository | None,
    registry_timeout: float,
    *,
    wait: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Build packages from source: images, bundle, archive, values files, all in dist/.

    PACKAGE names packages of a workspace; without any, all are built. What did not change, by content, is not done
    again. With --to, what was built is published.
    """
    asked = BuildOptions(release, platforms, to, registry_timeout)
    if dry_run:
        # A run without changes reads no project.
        from carvelwright.project import config  # noqa: PLC0415
        from carvelwright.session import select  # noqa: PLC0415

        plan = make_plan(select(config.load_packages(context.root), names), asked, context.environment)
        click.echo(json.dumps(plan.document(), indent=2) if form == "json" else _dry_run(plan.document()))
        return
    reporter, seconds = progress.reporter(context), stopwatch()
    result = incremental.build(context.root, asked, context.environment, reporter, names=names, wait=wait)
    if form == "json":
        published = result.published.document() if result.published else None
        document = {**result.release.document(), "unchanged": result.unchanged, "published": published}
        click.echo(json.dumps(document, indent=2))
    elif not context.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(_summary(result, seconds(), width))
        if context.verbose:
            click.echo(
                "\n".join(["", "tools:", *(f"  {name} {version}" for name, version in result.release.tools.items())])
            )


def _dry_run(plan: Mapping[str, Any]) -> str:
    head = [
        f"{each['package']} for {', '.join(each['platforms'])}, created {each['created']}" for each in plan["packages"]
    ]
    if plan["to"]:
        head.append(f"publish to {plan['to']}")
    return "\n".join(
        [*head, *(f"{number:3}. {step['name']}: {step['does']}" for number, step in enumerate(plan["steps"], 1))]
    )


def _summary(result: BuildResult, seconds: float, width: int | None) -> str:
    """Say what was built and what comes next; `width` is that of the terminal, None where there is none."""
    release = result.release
    sizes = {file.name: file.size for file in release.files}
    rows = [row for package in release.packages for row in _package_rows(package, sizes, release.archive)]
    rows.append(("air-gap archive", f"dist/{release.archive}", readable_size(sizes[release.archive])))
    head = "up to date: nothing was rebuilt" if result.unchanged else "built"
    lines = [f"{head}, {seconds:.2f} s", *tables.lay_out(rows, width), ""]
    return "\n".join(lines + (publishing.summary(result.published, width) if result.published else _next(release)))


def _package_rows(package: PackageRecord, sizes: Mapping[str, int], archive: str) -> Iterator[tuple[str, str, str]]:
    yield f"package {package.version}", f"dist/{package.file}", ""
    for image in package.images:
        platforms = ", ".join(f"{each.platform} {readable_size(each.compressed_bytes)}" for each in image.platforms)
        yield f"image {image.name}", str(image.reference.digest), platforms
    for existing in package.existing_images:
        yield f"existing image {existing.name}", str(existing.reference), ""
    yield "bundle", str(package.bundle.digest), ""
    yield "default values", f"dist/{package.default_values}", ""
    if package.archive != archive:
        yield "its archive", f"dist/{package.archive}", readable_size(sizes[package.archive])


def _next(release: ReleaseRecord) -> list[str]:
    program = failures.program()
    return [
        "next, publish to a registry that your cluster can reach:",
        f"  {program} publish REGISTRY/PATH",
        "or carry the archive into an air-gapped site, and publish it there:",
        f"  {program} relocate dist/{release.archive} REGISTRY/PATH",
        "or serve it on this machine only:",
        f"  {program} serve",
    ]
