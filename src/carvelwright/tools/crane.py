"""crane: pushes layouts, asks for digests, serves the embedded registry."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

from carvelwright import jsondoc, process
from carvelwright.digest import Digest
from carvelwright.errors import RegistryError
from carvelwright.reference import Reference
from carvelwright.tools import registry
from carvelwright.tools.registry import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.oci.layout import ImageLayout
    from carvelwright.tools.tool import Tool

_START_SECONDS = 10.0
_LOOK_SECONDS = 0.005
_TAKEN_HINT = (
    "stop the program that listens there (another build, or `carvelwright serve`), set another `registry` in "
    "carvelwright.yaml or package/build.yaml, or push to a registry with --to REGISTRY/PATH"
)
_ADDRESS_HINT = "use an address of this machine and a port that you may open: HOST:PORT such as 127.0.0.1:5055"


def push_layout(
    tool: Tool, layout: ImageLayout, target: Reference, *, step: str, timeout: float, note: Callable[[str], None]
) -> None:
    """Push a layout's index under a tag; refused where the registry ends up with another digest than ours."""
    exchange = Exchange(target.repository, "push to", step, timeout, note)
    output = registry.run(tool, ["push", "--", str(layout.directory), str(target)], exchange)
    pushed = output.stdout.decode(errors="replace").strip().rpartition("@")[2]
    if pushed != str(layout.digest):
        raise RegistryError(
            f"step {step}: registry {target.repository.registry} stored a different digest",
            registry=target.repository.registry,
            reference=str(target),
            details=f"found: {pushed}\nexpected: {layout.digest}",
            hint="push to another registry: this one, or a proxy, rewrites manifests",
            step=step,
        )


def digest(
    tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]
) -> Digest | None:
    """Return the digest a registry has for a reference; None where it does not have it."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    output = registry.run_if_there(tool, ["digest", "--", str(reference)], exchange)
    if output is None:
        return None
    try:
        return Digest.parse(output.stdout.decode(errors="replace").strip())
    except ValueError as error:
        raise RegistryError(
            f"step {step}: the registry's answer for {reference} is not a digest",
            registry=reference.repository.registry,
            reference=str(reference),
            details=str(error),
            hint="check with `crane digest` what the registry answers",
            step=step,
        ) from None


def pull_only_layer(
    tool: Tool, reference: Reference, limit: int, *, step: str, timeout: float, note: Callable[[str], None]
) -> bytes | None:
    """Return the one layer of a bundle, packed, with the digest that its manifest says; None where it is not there.

    ValueError where what is there is no bundle, which has exactly one layer, or is larger than `limit` bytes.
    """
    found = manifest(tool, reference, step=step, timeout=timeout, note=note)
    if found is None:
        return None
    wanted, size = _only_layer(found)
    if size > limit:
        raise ValueError(f"its layer is larger than {limit} bytes")
    layer = Reference(reference.repository, digest=wanted)
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    content = registry.run(tool, ["blob", "--", str(layer)], exchange).stdout
    if Digest.of_bytes(content) != wanted:
        raise ValueError(f"the registry returned something other than its layer {wanted}")
    return content


def _only_layer(manifest: bytes) -> tuple[Digest, int]:
    try:
        document = jsondoc.parse(manifest)
        (layer,) = document["layers"]
        wanted, size = Digest.parse(layer["digest"]), layer["size"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no bundle, whose manifest has one layer: {error!r}") from None
    if type(size) is not int:
        raise ValueError(f"it is no bundle: the size of its layer is {size!r}")
    return wanted, size


def manifest(
    tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]
) -> bytes | None:
    """Return the manifest or index that a registry has for a reference, byte for byte; None where it has none."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    output = registry.run_if_there(tool, ["manifest", "--", str(reference)], exchange)
    return output.stdout if output else None


def configuration(tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]) -> bytes:
    """Return the configuration of a single image."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    return registry.run(tool, ["config", "--", str(reference)], exchange).stdout


def tag(tool: Tool, reference: Reference, name: str, *, step: str, timeout: float, note: Callable[[str], None]) -> None:
    """Give an image that is in a registry one more tag."""
    exchange = Exchange(reference.repository, "push to", step, timeout, note)
    registry.run(tool, ["tag", "--", str(reference), name], exchange)


@contextlib.contextmanager
def serve(tool: Tool, address: str, storage: Path, *, step: str) -> Iterator[None]:
    """Serve a registry at HOST:PORT while the block runs; layers are kept in `storage`, manifests only in memory."""
    _refuse_taken(address, step)
    storage.mkdir(parents=True, exist_ok=True)
    # A build and `serve --address` may run at once: each has a log of its own.
    log = storage.parent / f"{storage.name}-{address.rpartition(':')[2]}.log"
    argv = tool.argv("registry", "serve", "--address", address, "--disk", storage)
    with process.background(argv, step=step, env=tool.environment, log=log) as server:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(address, timeout=1):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RegistryError(
                    f"step {step}: the embedded registry did not start on {address}",
                    registry=address,
                    details=log.read_text(errors="replace").strip(),
                    hint="use another address: `registry` in carvelwright.yaml or package/build.yaml, or "
                    "--to REGISTRY/PATH",
                    step=step,
                )
            time.sleep(_LOOK_SECONDS)
        yield


def answers(address: str, *, timeout: float) -> bool:
    """Tell whether a registry answers over plain HTTP at HOST:PORT."""
    import http.client  # noqa: PLC0415 - slow to import, not always needed

    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _refuse_taken(address: str, step: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        # A busy port shows as another server's answers much later; here it still has a clear name.
        with socket.create_server((host, int(port))):
            pass
    except OSError as error:
        raise RegistryError(
            f"step {step}: cannot listen on {address}: {error.strerror}",
            registry=address,
            hint=_TAKEN_HINT if error.errno == errno.EADDRINUSE else _ADDRESS_HINT,
            step=step,
        ) from None


def copy(
    tool: Tool, source: Reference, target: Reference, *, step: str, timeout: float, note: Callable[[str], None]
) -> None:
    """Copy an image, all platforms, from one repository to another."""
    exchange = Exchange(target.repository, "push to", step, timeout, note)
    registry.run(tool, ["copy", "--", str(source), str(target)], exchange)
