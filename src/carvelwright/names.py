"""The syntax of Kubernetes' names, by the API server's rules."""

from __future__ import annotations

import re

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SERVICE = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT = re.compile(r"(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*")
_CONFIG_KEY = re.compile(r"[-._A-Za-z0-9]+")
_LABEL_LIMIT, _NAME_LIMIT, _PORT_LIMIT = 63, 253, 15
DNS_LABEL = f"lower-case letters, digits and -, {_LABEL_LIMIT} characters at most (a DNS label)"
DNS_SUBDOMAIN = f"lower-case letters, digits, - and ., {_NAME_LIMIT} characters at most (a DNS subdomain)"
# Where a PackageInstall is taken to be where nobody says so.
INSTALL_NAMESPACE = "my-packages"
CONFIG_KEY = f"letters, digits, -, _ and ., {_NAME_LIMIT} characters at most, and no .. at the beginning"


def is_dns_label(text: str) -> bool:
    """Tell what a namespace or a container may be called."""
    return len(text) <= _LABEL_LIMIT and _DNS_LABEL.fullmatch(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """Tell what most objects may be called."""
    return len(text) <= _NAME_LIMIT and _DNS_SUBDOMAIN.fullmatch(text) is not None


def is_service_name(text: str) -> bool:
    """Tell what a Service may be called: a DNS label that begins with a letter."""
    return len(text) <= _LABEL_LIMIT and _SERVICE.fullmatch(text) is not None


def is_path_segment(text: str) -> bool:
    """Tell what roles and bindings may be called."""
    return text not in ("", ".", "..") and not {"/", "%"} & set(text)


def is_port_name(text: str) -> bool:
    """Tell what a port may be called."""
    return len(text) <= _PORT_LIMIT and _PORT.fullmatch(text) is not None


def is_config_key(text: str) -> bool:
    """Tell the keys of ConfigMaps and Secrets."""
    usual = len(text) <= _NAME_LIMIT and _CONFIG_KEY.fullmatch(text) is not None
    return usual and text != "." and not text.startswith("..")


def is_label_key(text: str) -> bool:
    """Tell the keys of labels: NAME or PREFIX/NAME."""
    prefix, slash, name = text.rpartition("/")
    return (not slash or is_dns_subdomain(prefix)) and _is_qualified(name)


def is_label_value(text: str) -> bool:
    """Tell the values of labels."""
    return not text or _is_qualified(text)


def _is_qualified(text: str) -> bool:
    return len(text) <= _LABEL_LIMIT and _QUALIFIED.fullmatch(text) is not None
