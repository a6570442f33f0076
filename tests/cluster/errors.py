"""What goes wrong with the cluster itself, told in one sentence and with the tail of the log that explains it."""

from __future__ import annotations


class ClusterError(Exception):
    """The machine cannot hold a cluster, or a part of the cluster did not do what it must."""
