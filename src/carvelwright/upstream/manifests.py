"""Finds in manifests, charts and Dockerfiles what a package repeats: CRDs, rights, images, values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from carvelwright import yamldoc
from carvelwright.errors import CarvelwrightError
from carvelwright.upstream.facts import Facts

Reader = Callable[[str, str, Path, Facts], None]

_OF_INTEREST = re.compile(r"^kind:\s*[\"']?(?:CustomResourceDefinition|(?:Cluster)?Role)\b|\bimage:", re.MULTILINE)
# A line that is only a directive of Helm's templates, and one within a line.
_DIRECTIVE = re.compile(r"^[ \t-]*\{\{[^{}]*\}\}[ \t]*$", re.MULTILINE)
_INLINE = re.compile(r"\{\{[^{}]*\}\}")
_PLACEHOLDER = "TEMPLATED"
# Words for people, and what the walk goes into.
_LEFT_OUT = frozenset(("description", "title", "example", "externalDocs", "properties", "items", "required"))
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<stage>\S+))?", re.MULTILINE | re.IGNORECASE)


def read_yaml(text: str, name: str, path: Path, facts: Facts) -> None:
    """Add the CRDs, rights and images of a file of manifests; templates of Helm are read with placeholders."""
    if not _OF_INTEREST.search(text):
        return
    plain = _INLINE.sub(_PLACEHOLDER, _DIRECTIVE.sub("", text)) if "{{" in text else text
    try:
        documents = yamldoc.load_all_text(plain, path)
    except CarvelwrightError:
        facts.unread.append(name)
        return
    for document in documents:
        if isinstance(document, dict):
            _read_document(document, name, facts)


def read_values(text: str, name: str, path: Path, facts: Facts) -> None:
    """Add the values of a chart, by path."""
    try:
        documents = yamldoc.load_all_text(text, path)
    except CarvelwrightError:
        facts.unread.append(name)
        return
    for document in documents:
        for key, value in _leaves(document, ""):
            facts.add("values", f"{name.rpartition('/')[0] or '.'}: {key}", _json(value))


def read_dockerfile(text: str, name: str, _path: Path, facts: Facts) -> None:
    """Add the base images of a Dockerfile."""
    stages: set[str] = set()
    for match in _FROM.finditer(text):
        if match["image"] not in stages:
            image, tag = _reference(match["image"])
            facts.add("images", f"{name}: FROM {image}", tag)
        if match["stage"]:
            stages.add(match["stage"])


def _read_document(document: dict[Any, Any], name: str, facts: Facts) -> None:
    kind = document.get("kind")
    if kind == "CustomResourceDefinition":
        facts.add("crd files", name, _name(document, name))
        _read_crd(document, _name(document, name), facts)
    elif kind in ("ClusterRole", "Role"):
        _read_role(document, name, facts)
    elif isinstance(kind, str):
        for image, tag in map(_reference, _images(document)):
            if _PLACEHOLDER not in image:
                facts.add("images", f"{kind} {_name(document, name)}: {image}", tag)


def _name(document: dict[Any, Any], file: str) -> str:
    """Return the name of an object; where a chart makes it up, its file says which one it is."""
    metadata = document.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
    return f"of {file}" if not name or _PLACEHOLDER in name else name


def _read_crd(document: dict[Any, Any], name: str, facts: Facts) -> None:
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    facts.add("crds", name, f"scope {spec.get('scope')}, names {_json(spec.get('names'))}")
    versions = spec.get("versions")
    for version in versions if isinstance(versions, list) else []:
        if not isinstance(version, dict):
            continue
        at = f"{name} {version.get('name')}"
        rest = {key: value for key, value in version.items() if key not in ("name", "schema")}
        facts.add("crds", at, _json(rest))
        schema = version.get("schema")
        for path, text in _schema(
            schema.get("openAPIV3Schema") if isinstance(schema, dict) else None, "", required=False
        ):
            facts.add("crds", f"{at} {path or '.'}", text)


def _schema(node: Any, path: str, *, required: bool) -> Iterator[tuple[str, str]]:
    """Yield each path of a schema and what the server does there, without the words for people."""
    if not isinstance(node, dict):
        return
    kept = {key: value for key, value in node.items() if key not in _LEFT_OUT}
    if isinstance(kept.get("additionalProperties"), dict):
        yield from _schema(kept.pop("additionalProperties"), f"{path}.*", required=False)
    yield path, _json(kept) + (", required" if required else "")
    properties, names = node.get("properties"), node.get("required")
    for key, child in properties.items() if isinstance(properties, dict) else ():
        yield from _schema(child, f"{path}.{key}", required=isinstance(names, list) and key in names)
    yield from _schema(node.get("items"), f"{path}[]", required=False)


def _read_role(document: dict[Any, Any], file: str, facts: Facts) -> None:
    where = f"{document['kind']} {_name(document, file)}"
    rules = document.get("rules")
    for rule in rules if isinstance(rules, list) else []:
        if not isinstance(rule, dict):
            continue
        verbs = _texts(rule.get("verbs"))
        named = f" {', '.join(_texts(rule['resourceNames']))}" if rule.get("resourceNames") else ""
        for group in _texts(rule.get("apiGroups")):
            for resource in _texts(rule.get("resources")):
                facts.add("rights", f"{where}: {group or 'core'}/{resource}{named}", *verbs)
        for url in _texts(rule.get("nonResourceURLs")):
            facts.add("rights", f"{where}: {url}", *verbs)


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _images(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "image" and isinstance(value, str) and value:
                yield value
            else:
                yield from _images(value)
    elif isinstance(node, list):
        for item in node:
            yield from _images(item)


def _reference(text: str) -> tuple[str, str]:
    """Split an image into its repository and its tag or digest."""
    repository, at, digest = text.partition("@")
    if at:
        return repository, digest
    before, slash, last = text.rpartition("/")
    image, _, tag = last.partition(":")
    return f"{before}{slash}{image}", tag or "latest"


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path or ".", node


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
