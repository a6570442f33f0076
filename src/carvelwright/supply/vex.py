"""Known vulnerabilities as OpenVEX: which of them affect a product, and why the others do not."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packageurl import PackageURL

from carvelwright.digest import Digest
from carvelwright.supply.inventory import go_purl
from carvelwright.supply.vulnerabilities import Reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from carvelwright.supply.vulnerabilities import Judged

_ANY_CONTEXT = "https://openvex.dev/ns"
_CONTEXT = f"{_ANY_CONTEXT}/v0.2.0"
_NAMESPACE = "https://carvelwright.dev/vex"
_ENTRY = "https://pkg.go.dev/vuln"
# In OpenVEX's words: why a vulnerability that is not reached does no harm.
_JUSTIFICATIONS = {
    Reach.IMPORTED: "vulnerable_code_not_in_execute_path",
    Reach.REQUIRED: "vulnerable_code_not_present",
}


@dataclass(frozen=True, slots=True)
class Product:
    """What an OpenVEX document is about: the package URL of an image, and what was found in it."""

    purl: str
    findings: tuple[Judged, ...]


def openvex(products: Iterable[Product], *, author: str, created: str, tool: str) -> bytes:
    """Write an OpenVEX 0.2.0 document, equal bytes for equal findings; `created` is UTC text."""
    statements = [_statement(product, judged) for product in products for judged in product.findings]
    content = {
        "author": author,
        "timestamp": created,
        "version": 1,
        "tooling": tool,
        "statements": statements,
    }
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({"@context": _CONTEXT, "@id": f"{_NAMESPACE}/{name}", **content}, indent=2) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Stated:
    """What an OpenVEX document states: when (UTC text), about which products, and how often each status.

    `products` are package URLs.
    """

    timestamp: str
    products: tuple[str, ...]
    statuses: Mapping[str, int]

    @classmethod
    def parse(cls, document: Any) -> Stated:
        """Read a document; ValueError where it is no OpenVEX."""
        try:
            if not str(document["@context"]).startswith(_ANY_CONTEXT):
                raise ValueError("it is no OpenVEX document")
            statements = document["statements"]
            products = {str(product["@id"]) for each in statements for product in each["products"]}
            statuses = Counter(str(each["status"]) for each in statements)
            timestamp = str(document["timestamp"])
        except (KeyError, TypeError, AttributeError):
            raise ValueError("it is no OpenVEX document") from None
        return cls(timestamp, tuple(sorted(products)), dict(sorted(statuses.items())))

    def others(self, image: Digest) -> tuple[str, ...]:
        """Return the products that are not this image."""
        return tuple(each for each in self.products if _digest_of(each) != image)


def _digest_of(purl: str) -> Digest | None:
    try:
        return Digest.parse(PackageURL.from_string(purl).version or "")
    except ValueError:
        return None


def _statement(product: Product, judged: Judged) -> dict[str, Any]:
    finding, known = judged.finding, judged.finding.vulnerability
    part = go_purl(finding.module.path, finding.module.version)
    named: dict[str, Any] = {"@id": f"{_ENTRY}/{known.identifier}", "name": known.identifier}
    if known.summary:
        named["description"] = known.summary
    if known.aliases:
        named["aliases"] = list(known.aliases)
    return {
        "vulnerability": named,
        "products": [{"@id": product.purl, "subcomponents": [{"@id": part}]}],
        **_status(judged),
    }


def _status(judged: Judged) -> dict[str, str]:
    finding, accepted = judged.finding, judged.acceptance
    if accepted is not None and accepted.justification:
        return _not_affected(accepted.justification, accepted.reason)
    if accepted is not None and finding.reach is Reach.CALLED:
        return {"status": "affected", "action_statement": f"accepted on {accepted.accepted}: {accepted.reason}"}
    if finding.reach is not Reach.CALLED:
        return _not_affected(_JUSTIFICATIONS[finding.reach], "govulncheck found no call of the vulnerable code")
    mend = f"update {finding.module.path} to {finding.mended}" if finding.mended else "no version mends it yet"
    return {"status": "affected", "action_statement": mend}


def _not_affected(justification: str, impact: str) -> dict[str, str]:
    return {"status": "not_affected", "justification": justification, "impact_statement": impact}
