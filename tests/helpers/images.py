"""Existing images: small ones, made by our own OCI modules and pushed to a test's registry, and packages of them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import shutil
import threading
from typing import TYPE_CHECKING

from carvelwright.oci import image as oci
from carvelwright.oci import layout as layouts
from carvelwright.oci.layer import LayerFile, write_layer
from carvelwright.platform import Platform
from tests.conftest import ROOT, PackageProject, free_address
from tests.helpers.builds import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.oci.layer import Layer

BOTH = ("linux/amd64", "linux/arm64")
_USER, _PASSWORD = "reader", "secret"


def push_image(
    crane: Path,
    scratch: Path,
    reference: str,
    platforms: Sequence[str] = BOTH,
    *,
    text: str = "",
    single: bool = False,
    stated: str = "",
) -> str:
    """Push an image that holds one file, as an index or as a single manifest; returns its digest.

    `stated` is what an attestation in the index states of the first manifest, in BuildKit's way.
    """
    directory = scratch / f"image-{len(list(scratch.glob('image-*')))}"
    directory.mkdir(parents=True)
    (directory / "content").write_text(text or reference)
    with (directory / "layer").open("wb") as blob:
        layer = write_layer([LayerFile("/content", 0o644, directory / "content")], blob)
    layout = directory / "layout"
    layouts.begin_layout(layout)
    layouts.add_layer(layout, layer, directory / "layer")
    spec = oci.ImageSpec(("/content",), "/", "2026-01-01T00:00:00Z", {})
    manifests = []
    for name in platforms:
        platform = Platform.parse(name)
        config = oci.config_blob(spec, platform, [layer])
        manifest = oci.manifest_blob(spec, config, [layer])
        for document in (config, manifest):
            layouts.add_blob(layout, document)
        manifests.append((platform, manifest))
    top = manifests[0][1] if single else oci.index_blob(spec, manifests)
    top = _attested(layout, top, layer, stated) if stated else top
    layouts.add_blob(layout, top)
    layouts.end_layout(layout, top)
    return call(crane, "push", layout, reference).decode().strip().rpartition("@")[2]


def _attested(layout: Path, index: oci.Blob, layer: Layer, stated: str) -> oci.Blob:
    """Return an index with one attestation more, about its first manifest."""
    config = oci.Blob("application/vnd.oci.image.config.v1+json", b'{"architecture":"unknown","os":"unknown"}')
    described = {"mediaType": "application/vnd.in-toto+json", "digest": str(layer.digest), "size": layer.size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [{**described, "annotations": {"in-toto.io/predicate-type": stated}}],
    }
    attestation = oci.Blob(oci.MANIFEST_TYPE, json.dumps(manifest).encode())
    for document in (config, attestation):
        layouts.add_blob(layout, document)
    whole = json.loads(index.data)
    about = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": whole["manifests"][0]["digest"],
    }
    platform = {"architecture": "unknown", "os": "unknown"}
    whole["manifests"].append({**attestation.descriptor(), "platform": platform, "annotations": about})
    return oci.Blob(oci.INDEX_TYPE, json.dumps(whole).encode())


def deployment(name: str, image: str) -> str:
    """Return a Deployment as YAML."""
    return f"""apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: {name}
          image: {image}
"""


def yaml_package(target: Path, environment: Mapping[str, str], *manifests: str) -> PackageProject:
    """Write a package without any Go: these manifests, and one option that turns on what `behind_option` adds."""
    shutil.copytree(ROOT / "examples/hello-package", target, ignore=shutil.ignore_patterns("build", "dist", "payload"))
    shutil.rmtree(target / "bundle/config")
    project = PackageProject(target, environment)
    head = (target / "package/build.yaml").read_text().partition("images:")[0].replace("127.0.0.1:5056", free_address())
    (target / "package/build.yaml").write_text(f"{head}tools: []\nimages: []\n")
    (target / "values-schema.yaml").write_text(
        '#@data/values-schema\n---\n#@schema/title "Exporter"\n#@schema/desc "Run the exporter too."\nexporter: false\n'
    )
    (target / "bundle/config/base").mkdir(parents=True)
    for number, manifest in enumerate(manifests):
        (target / f"bundle/config/base/{number}.yaml").write_text(manifest)
    return project


def behind_option(project: PackageProject, manifest: str, *, renders: bool) -> None:
    """Add a manifest that the option brings, and where asked the values file with which it is found."""
    text = '#@ load("@ytt:data", "data")\n#@ if data.values.exporter:\n---\n' + manifest + "#@ end\n"
    (project.root / "bundle/config/base/exporter.yaml").write_text(text)
    if renders:
        (project.root / "package/renders").mkdir()
        (project.root / "package/renders/exporter.yaml").write_text("exporter: true\n")


@contextlib.contextmanager
def private(address: str, scratch: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Put basic auth before a registry; yields the new address and variables with docker's credentials for it."""
    allowed = "Basic " + base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()

    class Guard(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != allowed:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="test"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = http.client.HTTPConnection(address, timeout=30)
            kept = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "authorization")
            }
            connection.request(self.command, self.path, headers=kept)
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.headers.get("Content-Length") or str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            connection.close()

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_arguments: object) -> None:
            """Write no log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        directory = scratch / "docker"
        directory.mkdir()
        auth = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
        (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        try:
            yield host, {"DOCKER_CONFIG": str(directory)}
        finally:
            server.shutdown()
            thread.join()
