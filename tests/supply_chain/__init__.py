"""Outside judges of signatures, attestations and SBOMs: `make supply-chain`, not `make test`."""
