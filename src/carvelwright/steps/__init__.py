"""The steps of a build: one function each, from typed artefacts to a typed artefact."""
