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
    from collections.abc import Mapping, Sequence

    from carvelwright.cli.options import Context

_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


@options.command("build")
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
    help="Push to this registry, with docker's credentials.  [default: the embedded registry of package/build.yaml]",
)
@options.registry_timeout
@options.option("--wait", is_flag=True, help="Wait until another build of this project has ended.")
@options.option("--dry-run", is_flag=True, help="Print the plan without building.")
@options.output_format
@click.pass_obj
def command(
    context: Context,
    release: str | None,
    platforms: tuple[Platform, ...],
    to: Repository | None,
    registry_timeout: float,
    *,
    wait: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Build the package from source: image, bundle, repository, archive, values files, all in dist/.

    What did not change, by content, is not done again.
    """
    asked = BuildOptions(release, platforms, to, registry_timeout)
    if dry_run:
        from carvelwright.project import config  # noqa: PLC0415 - a run without changes reads no project

        plan = make_plan(config.load_package(context.root), asked, context.environment)
        click.echo(json.dumps(plan.document(), indent=2) if form == "json" else _dry_run(plan.document()))
        return
    reporter, seconds = progress.reporter(context), stopwatch()
    result = incremental.build(context.root, asked, context.environment, reporter, wait=wait)
    if form == "json":
        click.echo(json.dumps({**result.release, "unchanged": result.unchanged}, indent=2))
    elif not context.quiet:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        click.echo(_summary(result.release, seconds(), width, unchanged=result.unchanged))
        if context.verbose:
            click.echo(
                "\n".join(["", "tools:", *(f"  {name} {version}" for name, version in result.release["tools"].items())])
            )


def _dry_run(plan: Mapping[str, Any]) -> str:
    where = "embedded registry" if plan["registry"]["embedded"] else "registry"
    head = [
        f"{plan['package']} for {', '.join(plan['platforms'])}, to {where} {plan['registry']['address']}",
        f"created {plan['created']}",
    ]
    return "\n".join([*head, *(f"{number:3}. {step}" for number, step in enumerate(plan["steps"], 1))])


def _summary(release: Mapping[str, Any], seconds: float, width: int | None, *, unchanged: bool) -> str:
    """Say what was built and what comes next; `width` is that of the terminal, None where there is none."""
    sizes = {file["name"]: file["size"] for file in release["files"]}
    rows = [(f"package {release['version']}", f"dist/packages/{release['refName']}/{release['version']}.yml", "")]
    for image in release["images"]:
        platforms = ", ".join(
            f"{entry['platform']} {readable_size(entry['compressedBytes'])}" for entry in image["platforms"]
        )
        rows.append((f"image {image['name']}", image["reference"], platforms))
    existing = [(image["name"], image["reference"]) for image in release["existingImages"]]
    rows += [(f"existing image {name}", reference, "") for name, reference in existing]
    rows += [
        ("bundle", release["bundle"], ""),
        ("repository", release["repository"], ""),
        ("default values", f"dist/{release['defaultValues']}", ""),
        ("air-gap archive", f"dist/{release['archive']}", readable_size(sizes[release["archive"]])),
    ]
    head = "up to date: nothing was rebuilt" if unchanged else "built"
    return "\n".join([f"{head}, {seconds:.2f} s", *_table(rows, width), "", *_next(release)])


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


def _next(release: Mapping[str, Any]) -> list[str]:
    program = failures.program()
    if not release["registry"]["embedded"]:
        return [
            "next:",
            "  kubectl apply -n my-packages -f dist/package-repository.yml",
            f"  tanzu package available list {release['refName']} -n my-packages",
        ]
    return [
        "next, publish to a registry that your cluster can reach:",
        f"  {program} build --to REGISTRY/PATH",
        "  kubectl apply -n my-packages -f dist/package-repository.yml",
        "or copy the archive into an air-gapped site:",
        f"  imgpkg copy --tar dist/{release['archive']} --to-repo REGISTRY/PATH",
        "or serve it on this machine only:",
        f"  {program} serve",
    ]
