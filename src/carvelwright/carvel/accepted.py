"""What kapp-controller accepts in a Package: options of kapp that it passes on, and paths in a bundle."""

from __future__ import annotations

import posixpath
import re

from carvelwright import names
from carvelwright.errors import did_you_mean

# The output of the step before, in the place of a path.
STDIN = "-"
_OPTION = re.compile(r"(--[a-z]+(?:-[a-z]+)*)=(.+)")
_SHARED = """
column debug json tty dangerous-ignore-failing-api-services dangerous-scope-to-fallback-allowed-namespaces
filter filter-age filter-kind filter-kind-name filter-kind-ns filter-kind-ns-name filter-name filter-ns
kube-api-qps kube-api-burst
"""
_CHANGE = """
diff-changes diff-against-last-applied diff-context diff-line-numbers diff-mask diff-run diff-summary diff-anchored
apply-check-interval apply-concurrency apply-default-update-strategy apply-ignored apply-timeout
exit-early-on-apply-error wait wait-check-interval wait-concurrency wait-ignored wait-timeout exit-early-on-wait-error
"""
_DEPLOYING = """
dangerous-allow-empty-list-of-resources existing-non-labeled-resources-check
existing-non-labeled-resources-check-concurrency dangerous-override-ownership-of-existing-resources
into-ns map-ns logs logs-all app-changes-max-to-keep labels patch
"""
# What kapp-controller lets a Package pass on, by kapp's command.
KAPP_OPTIONS = {
    "deploy": frozenset(f"{_SHARED}{_CHANGE}{_DEPLOYING}".split()),
    "delete": frozenset(f"{_SHARED}{_CHANGE}".split()),
    "inspect": frozenset(f"{_SHARED} raw status tree".split()),
}


def check_option(command: str, text: str) -> None:
    """Raise ValueError for an option that kapp-controller does not pass on to a command of kapp."""
    match = _OPTION.fullmatch(text)
    if match is None:
        raise ValueError(f"not an option: {text!r} (expected --name=value)")
    if match[1].removeprefix("--") not in KAPP_OPTIONS[command]:
        known = [f"--{name}" for name in sorted(KAPP_OPTIONS[command])]
        near = did_you_mean(match[1], known)
        raise ValueError(
            f"kapp-controller does not pass {match[1]} on to kapp {command}{near} (expected {', '.join(known)})"
        )


def check_path(text: str) -> None:
    """Raise ValueError for a path that leads out of the bundle."""
    inside = posixpath.normpath(posixpath.join("/bundle", text.lstrip("/")))
    if not text or "\0" in text or not f"{inside}/".startswith("/bundle/"):
        raise ValueError("not a path in the bundle (expected one such as config/)")


def check_path_or_stdin(text: str) -> None:
    """Raise ValueError for a path that leads out of the bundle; `-` is the output of the step before."""
    if text != STDIN:
        check_path(text)


def check_namespace(text: str) -> None:
    """Raise ValueError for what is no namespace."""
    if not names.is_dns_label(text):
        raise ValueError(f"not a namespace (expected {names.DNS_LABEL})")


def check_mapping(text: str) -> None:
    """Raise ValueError for what is no mapping of a namespace to another."""
    source, _, target = text.partition("=")
    if not names.is_dns_label(source) or not names.is_dns_label(target):
        raise ValueError("not a mapping of namespaces (expected FROM=TO)")
