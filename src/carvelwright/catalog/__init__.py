"""A package repository as a value: what a registry holds of it, and what becomes of it when records are added."""
