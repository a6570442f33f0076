"""Builds Carvel packages from source to a published package repository."""

__version__ = "0.1.0"
