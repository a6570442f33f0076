"""The files of a package project, read and checked."""
