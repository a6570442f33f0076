"""crane: pushes layouts, asks for digests, serves the embedded registry."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import jsondoc, process
from carvelwright.bounds import FILE
from carvelwright.digest import Digest
from carvelwright.errors import RegistryError
from carvelwright.oci import unpack
from carvelwright.reference import Reference
from carvelwright.tools import registry
from carvelwright.tools.registry import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
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
    try:
        output = registry.run(tool, ["push", "--", str(layout.directory), str(target)], exchange)
    except RegistryError as error:
        if registry.refused_tag(error) and _has(tool, target, layout.digest, exchange):
            return
        raise
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
    tool: Tool,
    reference: Reference,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
    expected: bool = False,
) -> Digest | None:
    """Return the digest a registry has for a reference; None where it does not have it."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note, expected=expected)
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


@dataclass(frozen=True, slots=True)
class PulledBundle:
    """A bundle as a registry has it, verified to the last byte: by digest, its manifest, its files by their names."""

    digest: Digest
    manifest: bytes
    files: Mapping[str, bytes]


def pull_verified_bundle(
    tool: Tool,
    reference: Reference,
    limit: int,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
    expected: bool = False,
) -> PulledBundle | None:
    """Return a bundle, of which nothing is written to disk; None where it is not there.

    Its manifest is that of the digest that was asked for, its configuration and its layer those that the manifest
    names: RegistryError where they are not. ValueError where the layer's content is not that of the configuration,
    where it is no bundle, which has exactly one layer, or where that is larger than `limit` bytes, packed or unpacked.
    `expected`: see Exchange.
    """
    exchange = Exchange(reference.repository, "pull from", step, timeout, note, expected=expected)
    found = manifest(tool, reference, step=step, timeout=timeout, note=note, expected=expected)
    if found is None:
        return None
    digest = Digest.of_bytes(found)
    if reference.digest not in (None, digest):
        raise registry.damaged(f"returned something other than {reference.digest}: its digest is {digest}", exchange)
    config, layer = _parts(found)
    if layer.size > limit:
        raise ValueError(f"its layer is larger than {limit} bytes")

    def blob(part: _Part) -> bytes:
        place = Reference(reference.repository, digest=part.digest)
        content = registry.run(tool, ["blob", "--", str(place)], exchange).stdout
        if (len(content), Digest.of_bytes(content)) != (part.size, part.digest):
            raise registry.damaged(f"returned something other than the {part.name} {part.digest}", exchange)
        return content

    configuration, packed = process.in_parallel(lambda: blob(config), lambda: blob(layer))
    return PulledBundle(digest, found, unpack.files_of(packed, limit, diff_id=_diff_id(configuration)))


@dataclass(frozen=True, slots=True)
class _Part:
    """What a manifest names, with its size in bytes."""

    name: str
    digest: Digest
    size: int


def _parts(manifest: bytes) -> tuple[_Part, _Part]:
    """Return the configuration and the only layer of a bundle's manifest."""
    try:
        document = jsondoc.parse(manifest)
        (layer,) = document["layers"]
        named = [("configuration", document["config"]), ("layer", layer)]
        config, only = (_Part(name, Digest.parse(part["digest"]), part["size"]) for name, part in named)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no bundle, whose manifest has one layer: {error!r}") from None
    for part in (config, only):
        if type(part.size) is not int or part.size < 0:
            raise ValueError(f"it is no bundle: the size of its {part.name} is {part.size!r}")
    if config.size > FILE.size:
        raise ValueError(f"its configuration is larger than {FILE.size} bytes")
    return config, only


def _diff_id(config: bytes) -> Digest:
    try:
        (diff_id,) = jsondoc.parse(config)["rootfs"]["diff_ids"]
        return Digest.parse(diff_id)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"it is no bundle, whose configuration names one layer: {error!r}") from None


def manifest(
    tool: Tool,
    reference: Reference,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
    expected: bool = False,
) -> bytes | None:
    """Return the manifest or index that a registry has for a reference, byte for byte; None where it has none."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note, expected=expected)
    output = registry.run_if_there(tool, ["manifest", "--", str(reference)], exchange)
    return output.stdout if output else None


def configuration(tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]) -> bytes:
    """Return the configuration of a single image."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    return registry.run(tool, ["config", "--", str(reference)], exchange).stdout


def validate(tool: Tool, reference: Reference, *, step: str, timeout: float, note: Callable[[str], None]) -> None:
    """Read an image or an index to the last byte, and compare every digest. RegistryError says what is wrong."""
    exchange = Exchange(reference.repository, "pull from", step, timeout, note)
    registry.run(tool, ["validate", "--remote", str(reference)], exchange)


def put_tag(
    tool: Tool,
    reference: Reference,
    name: str,
    *,
    step: str,
    timeout: float,
    note: Callable[[str], None],
    differs: bool = False,
) -> bool:
    """Give an image that is in a registry, by digest, one more tag; False where it has it already.

    What is equal is not written again: registries with immutable tags refuse even that. The caller that has just seen
    that the tag `differs`, or is not there, saves the question. RegistryError, with the hint that tags there are
    immutable, where the registry refuses to move a tag.
    """
    target = reference.repository.tagged(name)
    if not differs and digest(tool, target, step=step, timeout=timeout, note=note) == reference.digest:
        return False
    # It was just pushed, or the caller has seen it.
    exchange = Exchange(reference.repository, "push to", step, timeout, note, expected=True)
    try:
        registry.run(tool, ["tag", "--", str(reference), name], exchange)
    except RegistryError as error:
        if registry.refused_tag(error) and _has(tool, target, reference.digest, exchange):
            return False
        raise
    return True


def _has(tool: Tool, target: Reference, wanted: Digest | None, exchange: Exchange) -> bool:
    """Tell whether a tag that is not overwritten is what it was to be: another publisher wrote it just before."""
    found = digest(tool, target, step=exchange.step, timeout=exchange.timeout, note=exchange.note, expected=True)
    return found == wanted


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
    """Copy an image that is there, or was just pushed, all platforms, from one repository to another."""
    exchange = Exchange(target.repository, "push to", step, timeout, note, expected=True)
    registry.run(tool, ["copy", "--", str(source), str(target)], exchange, slowly=("--jobs", "1"))
