from __future__ import annotations

from pathlib import Path

import pytest

from carvelwright.reference import Repository
from carvelwright.uses import operands
from carvelwright.uses.operands import OfPath, OfRegistry, OfRelease, OfRevision

REPOSITORY = Repository("r.example.com:5000", "a/b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.9.4+vmware.1-tkg.1", OfRelease("0.9.4+vmware.1-tkg.1")),
        ("1.2.3", OfRelease("1.2.3")),
        ("./1.2.3", OfPath(Path("1.2.3"))),
        ("git:origin/main", OfRevision("origin/main")),
        ("git:HEAD@{1}", OfRevision("HEAD@{1}")),
        ("./git:x", OfPath(Path("git:x"))),
        ("registry:r.example.com:5000/a/b", OfRegistry(REPOSITORY, None)),
        ("registry:r.example.com:5000/a/b@1.0.0+x", OfRegistry(REPOSITORY, "1.0.0+x")),
        (".", OfPath(Path())),
        ("dist", OfPath(Path("dist"))),
        ("origin/main", OfPath(Path("origin/main"))),
        ("r.example.com/a/b", OfPath(Path("r.example.com/a/b"))),
        ("1.2", OfPath(Path("1.2"))),
    ],
)
def test_text_alone_says_what_is_compared(text: str, expected: operands.Operand) -> None:
    assert operands.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "git:", "registry:", "registry:x", "registry:r.example.com/a@", "registry:r.example.com/a@x", "a\0b"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        operands.parse(text)
