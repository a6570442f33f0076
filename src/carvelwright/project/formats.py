"""What `format` means in the JSON Schemas of the project's files: a check for each, which says what is wrong."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import functools
import re
from typing import TYPE_CHECKING

from carvelwright.carvel import accepted, constraints
from carvelwright.platform import LINUX_ARCHITECTURES, Platform
from carvelwright.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FIRST_YEAR = 1970
# The SPDX specification's grammar for a licence of one's own.
_OWN_LICENCE = re.compile(r"(DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")
_SVG = re.compile(rb"<(?:[A-Za-z][\w.-]*:)?svg[\s/>]")


def _registry(text: str) -> None:
    Repository.parse(text)


def _image(text: str) -> None:
    Reference.of_image(text)


def _platform(text: str) -> None:
    platform = Platform.parse(text)
    if platform.os != "linux" or platform.architecture not in LINUX_ARCHITECTURES:
        known = ", ".join(f"linux/{architecture}" for architecture in sorted(LINUX_ARCHITECTURES))
        raise ValueError(f"Go does not build Linux binaries for it (expected one of {known})")


def _moment(text: str) -> None:
    year, month, day, hour, minute, second = (int(number) for number in re.findall(r"[0-9]+", text))
    if year < _FIRST_YEAR:
        raise ValueError(f"before {_FIRST_YEAR}")
    dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)


def _day(text: str) -> None:
    dt.date.fromisoformat(text)


def _licence(text: str) -> None:
    # Half a second to import, only needed when the project's files have changed.
    from license_expression import ExpressionError, get_spdx_licensing  # noqa: PLC0415

    licensing = get_spdx_licensing()
    try:
        parsed = licensing.parse(text, strict=True)
    except ExpressionError as error:
        raise ValueError(f"not an SPDX expression: {error}") from None
    if parsed is None:
        raise ValueError("not an SPDX expression: empty")
    if unknown := [key for key in licensing.unknown_license_keys(parsed) if not _OWN_LICENCE.fullmatch(key)]:
        raise ValueError(
            f"not in SPDX's list of licenses: {', '.join(unknown)} (expected identifiers such as Apache-2.0, or "
            "LicenseRef-NAME for a license that is not in the list)"
        )


def _one_licence(text: str) -> None:
    _licence(text)
    if re.search(r"\s(AND|OR)\s|[()]", text, re.IGNORECASE):
        raise ValueError("not one license (expected an identifier, or ID WITH EXCEPTION)")


def _svg(text: str) -> None:
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    if not _SVG.search(content):
        raise ValueError("the decoded text has no <svg> element")


def _as_read(text: str) -> None:
    if remarks := constraints.remarks(text):
        raise ValueError("; ".join(remarks))


FORMATS: Mapping[str, Callable[[str], None]] = {
    "bundle-path": accepted.check_path,
    "bundle-path-or-stdin": accepted.check_path_or_stdin,
    "constraints-as-read": _as_read,
    "day": _day,
    "image": _image,
    "kapp-delete-option": functools.partial(accepted.check_option, "delete"),
    "kapp-deploy-option": functools.partial(accepted.check_option, "deploy"),
    "kapp-inspect-option": functools.partial(accepted.check_option, "inspect"),
    "linux-platform": _platform,
    "loopback-registry": _registry,
    "namespace": accepted.check_namespace,
    "namespace-mapping": accepted.check_mapping,
    "spdx-expression": _licence,
    "spdx-license": _one_licence,
    "svg-base64": _svg,
    "utc-moment": _moment,
    "version-constraints": constraints.check,
}
