"""The images of the cluster itself, made of local static programs: the pause container, busybox and kapp-controller."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import struct
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout
from tests.cluster.errors import ClusterError
from tests.cluster.progress import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.binaries import Binaries

PAUSE = "localhost/pause:1"
BUSYBOX = "localhost/busybox:1"
KAPP_CONTROLLER = "localhost/kapp-controller:1"


@dataclass(frozen=True, slots=True)
class Image:
    """One image of one layer: `files` maps a path in the image to a local program, `texts` to what a file holds."""

    name: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    directories: tuple[tuple[str, int], ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    # Level 1: an archive is made once, but the nodes decompress it at each start of a cluster.
    compression: int = 1

    def key(self) -> str:
        """Return a key over everything that goes into the image."""
        digest = hashlib.sha256(repr((self.name, self.entrypoint, self.command, self.user, self.compression)).encode())
        digest.update(repr((sorted(self.texts.items()), self.directories, sorted(self.links.items()))).encode())
        for path, source in sorted(self.files.items()):
            with source.open("rb") as file:
                digest.update(f"{path}\0{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Images:
    """Docker archives on disk."""

    pause: Path
    busybox: Path
    kapp_controller: Path


def ensure(binaries: Binaries) -> Images:
    """Make the archives that are not there yet."""
    return Images(
        pause=ensure_archive(Image(PAUSE, entrypoint=("/pause",), files={"pause": binaries.path("pause")})),
        busybox=ensure_archive(busybox(BUSYBOX)),
        kapp_controller=ensure_archive(_kapp_controller(binaries)),
    )


def busybox(name: str) -> Image:
    """Return an image of busybox with all of its applets: a small system with a shell, as Alpine's is."""
    program = busybox_program()
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    return Image(
        name,
        command=("/bin/sh",),
        files={"bin/busybox": program},
        links={f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"},
        texts={"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n"},
        directories=(("root", 0o700), ("tmp", 0o1777), ("var", 0o755)),
    )


def busybox_program() -> Path:
    """Return the host's busybox, which needs no library."""
    program = shutil.which("busybox")
    if program is None:
        raise ClusterError("busybox is not here: apt-get install --no-install-recommends busybox-static")
    path = Path(program).resolve()
    if not _static(path):
        raise ClusterError(f"{path} is not a static program: apt-get install --no-install-recommends busybox-static")
    return path


def _static(program: Path) -> bool:
    """Tell whether an ELF program of 64 bits names no interpreter, so that it runs in an image of its own."""
    with program.open("rb") as file:
        header = file.read(64)
        (offset,), (size, count) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    interpreter = 3  # PT_INTERP
    return all(struct.unpack_from("<I", table, size * index)[0] != interpreter for index in range(count))


def _kapp_controller(binaries: Binaries) -> Image:
    tools = {tool: layout.CARVEL_TOOLS / tool for tool in ("ytt", "kbld", "imgpkg", "helm")}
    tools |= {tool: binaries.path(tool) for tool in ("kapp", "vendir")}
    tools["kapp-controller"] = binaries.path("kapp-controller").resolve()
    # The controller adds its configured certificates to a bundle at this path, as its user.
    bundle = "etc/pki/tls/certs/ca-bundle.crt"
    return Image(
        KAPP_CONTROLLER,
        entrypoint=("/bin/kapp-controller",),
        user="1000",
        files={f"bin/{tool}": program for tool, program in tools.items()},
        texts={
            bundle: "",
            f"{bundle}.orig": "",
            "etc/passwd": "kapp-controller:x:1000:0::/home/kapp-controller:/bin/false\n",
        },
        directories=(("etc/pki/tls/certs", 0o777), ("tmp", 0o1777), ("home/kapp-controller", 0o777)),
    )


def ensure_archive(image: Image) -> Path:
    """Return the image's docker archive, made if it is not there yet."""
    short = image.name.rpartition("/")[2].partition(":")[0]
    archive = layout.IMAGES / f"{short}-{image.key()}.tar"
    if not archive.exists():
        say(f"making the image {image.name}")
        layout.IMAGES.mkdir(parents=True, exist_ok=True)
        scratch = archive.with_suffix(".part")
        _write_archive(image, scratch)
        scratch.rename(archive)
    return archive


def compressed_size(archive: Path) -> int:
    """Return how many bytes a node would fetch: the image's configuration and its compressed layers."""
    with tarfile.open(archive) as file:
        manifest = file.extractfile("manifest.json")
        assert manifest is not None
        (image,) = json.load(manifest)
        return sum(file.getmember(name).size for name in (image["Config"], *image["Layers"]))


def _write_archive(image: Image, target: Path) -> None:
    layer = _layer(image)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": list(image.entrypoint) or None,
            "Cmd": list(image.command) or None,
            "User": image.user,
            "Env": ["PATH=/bin"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }
    members = {
        "layer.tar.gz": gzip.compress(layer, compresslevel=image.compression, mtime=0),
        "config.json": json.dumps(config).encode(),
    }
    manifest = [{"Config": "config.json", "RepoTags": [image.name], "Layers": ["layer.tar.gz"]}]
    members["manifest.json"] = json.dumps(manifest).encode()
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            _add(archive, tarfile.TarInfo(name), content)


def _layer(image: Image) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as layer:
        for path, mode in image.directories:
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            layer.addfile(entry)
        for path, text in sorted(image.texts.items()):
            _add(layer, tarfile.TarInfo(path), text.encode(), mode=0o666)
        for path, source in sorted(image.files.items()):
            _add(layer, tarfile.TarInfo(path), source.read_bytes(), mode=0o755)
        for path, destination in sorted(image.links.items()):
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, destination
            layer.addfile(entry)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, entry: tarfile.TarInfo, content: bytes, *, mode: int = 0o644) -> None:
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
