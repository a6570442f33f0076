"""Carvel's own formats and rules: documents, locks, versions, the rights that an installation needs."""
