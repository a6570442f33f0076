"""What the source of the packaged software says of itself, and what differs between two versions of it.

Everything is found by reading files, nothing of the source runs. A fact has a kind, a key and a text: of the kind
`rights`, the key `ClusterRole whereabouts: core/pods` has the text `get, list, watch`. What reading cannot find, such
as the name of a flag that is no literal, is in no fact.
"""

from __future__ import annotations

from carvelwright.upstream.facts import Change as Change
from carvelwright.upstream.facts import compare as compare
from carvelwright.upstream.source import read as read
