"""DSSE envelopes: a document, its type, and signatures over both."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carvelwright import jsondoc
from carvelwright.bounds import STREAM

if TYPE_CHECKING:
    from carvelwright.supply.keys import PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class Envelope:
    """A document in an envelope: its type, its bytes, and signatures in DER; whose they are is not known yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> Envelope:
        """Read one; ValueError says why it is none."""
        try:
            document = jsondoc.parse(data, STREAM)
            kind, payload = document["payloadType"], base64.b64decode(document["payload"], validate=True)
            signatures = tuple(base64.b64decode(each["sig"], validate=True) for each in document["signatures"])
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError(f"not a DSSE envelope: {error!r}") from None
        return cls(str(kind), payload, signatures)

    def is_of(self, key: PublicKey) -> bool:
        """Tell whether one of the signatures is this key's."""
        signed = _encoded(self.payload_type, self.payload)
        return any(key.verifies(signature, signed) for signature in self.signatures)


def sealed(key: PrivateKey, payload_type: str, payload: bytes) -> bytes:
    """Return the envelope of a document, signed; equal documents and keys give equal bytes."""
    signature = key.sign(_encoded(payload_type, payload))
    document = {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _encoded(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed, as DSSE 1.0 encodes it."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
