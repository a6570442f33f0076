"""carvelwright keygen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from carvelwright.cli import options
from carvelwright.errors import UsageError

if TYPE_CHECKING:
    from carvelwright.cli.options import Context


@options.command("keygen")
@options.option(
    "-o",
    "--output",
    required=True,
    metavar="NAME",
    type=click.Path(path_type=Path),
    help="Write NAME.key and NAME.pub; neither may exist.",
)
@options.option("--no-passphrase", is_flag=True, help="Write a private key that is not encrypted.")
@click.pass_obj
def command(context: Context, output: Path, *, no_passphrase: bool) -> None:
    """Make a key pair for --sign-key: a private key that signs, and a public key that verifies.

    The private key is encrypted with the passphrase in the environment variable CARVELWRIGHT_SIGN_KEY_PASSPHRASE.
    cosign verifies with the public key. `cosign import-key-pair` takes a private key that is not encrypted.
    """
    from carvelwright.supply import keys  # noqa: PLC0415 - nothing else of the command line needs it
    from carvelwright.uses import keygen  # noqa: PLC0415

    if no_passphrase and context.passphrase:
        raise UsageError(
            f"--no-passphrase and {keys.PASSPHRASE_VARIABLE} exclude each other",
            hint=f"unset {keys.PASSPHRASE_VARIABLE}, or leave out --no-passphrase",
        )
    if not no_passphrase and not context.passphrase:
        raise UsageError(
            "no passphrase for the private key",
            hint=f"set {keys.PASSPHRASE_VARIABLE} to one, or write the key unencrypted with --no-passphrase",
        )
    made = keygen.keygen(output, context.passphrase)
    click.echo(f"{made.private}  private key, keep it secret")
    click.echo(f"{made.public}  public key {made.key_id}, for those who verify")
