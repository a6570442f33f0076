"""Compares two versions of a package: values schema, images, manifests and rights, as pure functions."""
