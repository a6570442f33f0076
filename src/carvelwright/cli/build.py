"""carvelwright build."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from carvelwright.cli import completion, failures, options, progress
from carvelwright.plan import BuildOptions, make_plan
from carvelwright.platform import Platform
from carvelwright.process import stopwatch
from carvelwright.reference import Repository
from carvelwright.report import readable_size
from carvelwright.uses import incremental

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from carvelwright.cli.options import Context
    from carvelwright.record import PackageRecord, ReleaseRecord

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


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
    help="Push to this registry, with docker's credentials.  [default: the embedded registry, at `registry` of "
    "carvelwright.yaml or package/build.yaml]",
)
@options.registry_timeout
@options.registry_ca_cert
@options.option("--wait", is_flag=True, help="Wait until another build of this project has ended.")
@options.option("--dry-run", is_flag=True, help="Print the plan without building.")
@options.output_format
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
    """Build packages from source: images, bundle, repository, archive, values files, all in dist/.

    PACKAGE names packages of a workspace; without any, all are built. What did not change, by content, is not done
    again.
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
        click.echo(json.dumps({**result.release.document(), "unchanged": result.unchanged}, indent=2))
    elif not context.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(_summary(result.release, seconds(), width, unchanged=result.unchanged))
        if context.verbose:
            click.echo(
                "\n".join(["", "tools:", *(f"  {name} {version}" for name, version in result.release.tools.items())])
            )


def _dry_run(plan: Mapping[str, Any]) -> str:
    where = "embedded registry" if plan["registry"]["embedded"] else "registry"
    head = [
        f"{each['package']} for {', '.join(each['platforms'])}, created {each['created']}" for each in plan["packages"]
    ]
    head.append(f"to {where} {plan['registry']['address']}")
    return "\n".join([*head, *(f"{number:3}. {step}" for number, step in enumerate(plan["steps"], 1))])


def _summary(release: ReleaseRecord, seconds: float, width: int | None, *, unchanged: bool) -> str:
    """Say what was built and what comes next; `width` is that of the terminal, None where there is none."""
    sizes = {file.name: file.size for file in release.files}
    rows = [row for package in release.packages for row in _package_rows(package, sizes, release.archive)]
    rows += [
        ("repository", str(release.repository[0]), ""),
        ("air-gap archive", f"dist/{release.archive}", readable_size(sizes[release.archive])),
    ]
    head = "up to date: nothing was rebuilt" if unchanged else "built"
    return "\n".join([f"{head}, {seconds:.2f} s", *_table(rows, width), "", *_next(release)])


def _package_rows(package: PackageRecord, sizes: Mapping[str, int], archive: str) -> Iterator[tuple[str, str, str]]:
    yield f"package {package.version}", f"dist/{package.file}", ""
    for image in package.images:
        platforms = ", ".join(f"{each.platform} {readable_size(each.compressed_bytes)}" for each in image.platforms)
        yield f"image {image.name}", str(image.reference), platforms
    for existing in package.existing_images:
        yield f"existing image {existing.name}", str(existing.reference), ""
    yield "bundle", str(package.bundle), ""
    yield "default values", f"dist/{package.default_values}", ""
    if package.archive != archive:
        yield "its archive", f"dist/{package.archive}", readable_size(sizes[package.archive])


def _table(rows: Sequence[tuple[str, str, str]], width: int | None) -> list[str]:
    """Lay out name, place and size of each row within the width."""
    column = max(len(name) for name, _, _ in rows)
    return [line for row in rows for line in _row(*row, column, width)]


def _row(name: str, place: str, size: str, column: int, width: int | None) -> list[str]:
    """Return the first layout that fits: whole, digest shortened, size below, all below each other, without digest."""
    note = f"({size})" if size else ""
    short, tag = _DIGEST.sub(r"\1…", place), _DIGEST.sub("…", place)
    head, below = f"  {name:<{column}}  ", [f"    {note}"] if note else []
    layouts = [
        [f"{head}{place}  {note}".rstrip()],
        [f"{head}{short}  {note}".rstrip()],
        [f"{head}{short}", *below],
        [f"  {name}", f"    {short}", *below],
        [f"  {name}", f"    {tag}", *below],
    ]
    return next((layout for layout in layouts if width is None or max(map(len, layout)) <= width), layouts[-1])


def _next(release: ReleaseRecord) -> list[str]:
    program = failures.program()
    if not release.embedded:
        return [
            "next:",
            "  kubectl apply -n my-packages -f dist/package-repository.yml",
            *(f"  tanzu package available list {package.ref_name} -n my-packages" for package in release.packages),
        ]
    return [
        "next, publish to a registry that your cluster can reach:",
        f"  {program} build --to REGISTRY/PATH",
        "  kubectl apply -n my-packages -f dist/package-repository.yml",
        "or copy the archive into an air-gapped site:",
        f"  imgpkg copy --tar dist/{release.archive} --to-repo REGISTRY/PATH",
        "or serve it on this machine only:",
        f"  {program} serve",
    ]
