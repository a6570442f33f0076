"""The option of commands that sign."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carvelwright.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    import click


def _read(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    """Read the key before any work; UsageError says why it is none."""
    if value is None or ctx.resilient_parsing:
        return
    from carvelwright.supply import keys  # noqa: PLC0415 - most commands sign nothing

    context = options.current(ctx)
    ctx.obj = replace(context, sign_key=keys.read_private(value, context.passphrase))


key = options.option(
    "--sign-key",
    metavar="FILE",
    type=options.existing_file,
    expose_value=False,
    callback=_read,
    help="Sign what is published with this private key (PEM, ECDSA P-256). The passphrase of an encrypted one is in "
    "the environment variable CARVELWRIGHT_SIGN_KEY_PASSPHRASE.",
)
