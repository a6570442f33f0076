"""Go modules that pin tools: small programs under the tools' names, from a module proxy of their own."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

VERSION = "v1.2.3"


class Proxy:
    """A directory that Go takes modules from, as it does from a proxy; their checksums stand in go.sum as always."""

    def __init__(self, root: Path) -> None:
        self.root = root / "proxy"
        self.environment = {
            **os.environ,
            "GOPROXY": self.root.as_uri(),
            "GOMODCACHE": str(root / "modcache"),
        }

    def pin(self, directory: Path, *programs: str, requires: Iterable[tuple[str, str]] = ()) -> None:
        """Write a Go module that pins programs such as carvel.dev/ytt/cmd/ytt, and requires other modules."""
        required = {program.partition("/cmd/")[0]: (program, VERSION) for program in programs}
        required |= {module: ("", version) for module, version in requires}
        lines, sums = [f"module {directory.name}", "go 1.25", *(f"tool {program}" for program in programs)], []
        for module, (program, version) in required.items():
            lines.append(f"require {module} {version}")
            sums += self._publish(module, version, program)
        directory.mkdir(parents=True)
        (directory / "go.mod").write_text("\n".join(lines) + "\n")
        (directory / "go.sum").write_text("\n".join(sums) + "\n")

    def _publish(self, module: str, version: str, program: str) -> list[str]:
        """Publish a module with one program, or none; returns its lines of go.sum."""
        content = {"go.mod": f"module {module}\n\ngo 1.25\n".encode()}
        if program:
            name = program.rpartition("/")[2]
            text = f'package main\n\nfunc main() {{ print("{name} {version}") }}\n'
            content[f"cmd/{name}/main.go"] = text.encode()
        return self.publish(module, version, content)

    def publish(self, module: str, version: str, content: Mapping[str, bytes]) -> list[str]:
        """Publish a module of these files and list its version; returns its lines of go.sum."""
        place = self.root / module / "@v"
        place.mkdir(parents=True, exist_ok=True)
        with (place / "list").open("a") as listed:
            listed.write(f"{version}\n")
        (place / f"{version}.info").write_text(json.dumps({"Version": version}))
        (place / f"{version}.mod").write_bytes(content["go.mod"])
        whole = {f"{module}@{version}/{name}": data for name, data in content.items()}
        with zipfile.ZipFile(place / f"{version}.zip", "w") as archive:
            for name, data in whole.items():
                archive.writestr(name, data)
        sums = {version: _h1(whole), f"{version}/go.mod": _h1({"go.mod": content["go.mod"]})}
        return [f"{module} {name} {digest}" for name, digest in sums.items()]


def _h1(content: Mapping[str, bytes]) -> str:
    """Return the checksum of files as go.sum has it."""
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items()))
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()
