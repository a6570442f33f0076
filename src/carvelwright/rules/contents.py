"""What the API server refuses of the content of ConfigMaps and Secrets."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from carvelwright import names
from carvelwright.rules.objects import Finding, kind_of, quoting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The fields of each kind: those that hold text, those that hold base64.
_FIELDS = {"ConfigMap": (("data",), ("binaryData",)), "Secret": (("stringData",), ("data",))}


def content_findings(document: Mapping[str, Any]) -> Iterator[Finding]:
    """Find keys and values that the API server refuses."""
    kind = kind_of(document)
    if kind not in _FIELDS:
        return
    texts, encoded = _FIELDS[kind]
    for field in (*texts, *encoded):
        values = document.get(field)
        if values is not None and not isinstance(values, dict):
            yield Finding((field,), f"{field} is no map", values, "a map of text")
            continue
        for key, value in (values or {}).items():
            if not isinstance(key, str) or not names.is_config_key(key):
                yield Finding((field, key), f"wrong key of {field}", key, names.CONFIG_KEY, quoting(key))
            yield from _value_findings(field, key, value, is_base64=field in encoded)
    if kind == "ConfigMap":
        for key in _keys(document, "data") & _keys(document, "binaryData"):
            yield Finding(("binaryData", key), f"key {key} is in data and in binaryData", None, "each key once")


def _value_findings(field: str, key: Any, value: Any, *, is_base64: bool) -> Iterator[Finding]:
    if value is None:
        return
    if not isinstance(value, str):
        yield Finding((field, key), f"the value of {field} {key} is not text", value, "text", quoting(value))
    elif is_base64 and not _is_base64(value):
        hint = "write plain text below stringData" if field == "data" else "write plain text below data"
        yield Finding((field, key), f"the value of {field} {key} is not base64", value, "base64", hint)


def _is_base64(text: str) -> bool:
    try:
        # Go's decoder, too, skips line ends.
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (ValueError, binascii.Error):
        return False
    return True


def _keys(document: Mapping[str, Any], field: str) -> set[Any]:
    values = document.get(field)
    return set(values) if isinstance(values, dict) else set()
