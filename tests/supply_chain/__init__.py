"""The judge of signatures and attestations: cosign itself, built once from its module."""
