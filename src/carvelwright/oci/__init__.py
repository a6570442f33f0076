"""OCI artefacts from plain files, equal bytes for equal input; standard library only."""
