"""The command line: parse, call, report. One module for each group of commands, imported only when it is used."""

# Not `signal`, whose import takes milliseconds: a Ctrl-C until `main` has begun is answered by Python, not by us.
import _signal  # type: ignore[import-not-found]
import os
import sys

INTERRUPTED = "interrupted; finished steps are kept, run the same command again to continue"
INTERRUPTED_CODE = 130
_SIGNALS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


def main() -> None:
    """Run the command line and exit with its code."""
    heeded = [number for number in _SIGNALS if _signal.getsignal(number) != _signal.SIG_IGN]
    for number in heeded:
        _signal.signal(number, _exit)
    # Imported now that a Ctrl-C is heeded.
    from carvelwright.cli.main import run  # noqa: PLC0415

    code = run(sys.argv[1:])
    # What was to do is done, and its code stands: nothing is left that a signal could end.
    for number in heeded:
        _signal.signal(number, _signal.SIG_IGN)
    if code == INTERRUPTED_CODE:
        # After `sys.exit` Python kills itself with SIGINT if a KeyboardInterrupt, though handled, was raised in code
        # that it executed from a string, as it does for each dataclass.
        os._exit(code)
    sys.exit(code)


def _exit(_number: int, _frame: object) -> None:
    """End at once: before a command has begun and after it has ended nothing has to be put in order.

    An exception would not do: raised within an import, it may be swallowed or be shown as a traceback.
    """
    try:
        os.write(2, f"error: {INTERRUPTED}\n".encode())
    finally:
        os._exit(INTERRUPTED_CODE)
