"""Each case of render/ and multus-cni/: values.yaml, and the manifests or the message that ytt gives for it.

`pytest tests/golden --update-golden` writes what came out.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.package import RefusedError, StagedPackage
from tests.helpers.package import multus as multus  # noqa: PLC0414  # a fixture
from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

GOLDEN = Path(__file__).parent
# The directory of a package's cases, and the fixture that stages the package.
PACKAGES = {"render": "package", "multus-cni": "multus"}
CASES = [
    path.parent.relative_to(GOLDEN).as_posix() for name in PACKAGES for path in GOLDEN.glob(f"{name}/*/values.yaml")
]
EXPECTED, EXPECTED_ERROR = "expected.yaml", "expected-error.txt"

_SCHEMA_LINE = re.compile(r"(values-schema\.yaml|carvelwright/\w+\.lib\.yml):\d+")
_VERSION = re.compile(r"(app\.kubernetes\.io/version: ).*")
_DOCUMENTS = re.compile(r"^---\n", re.MULTILINE)


def without_crd_schemas(text: str) -> str:
    """Cut what is not ours: what upstream's CRDs say below `spec`."""
    documents = _DOCUMENTS.split(text)
    cut = [
        document[: document.index("\nspec:\n") + 1] if "kind: CustomResourceDefinition\n" in document else document
        for document in documents
    ]
    return "---\n".join(cut)


def outcome(package: StagedPackage, values: Path) -> tuple[str, str]:
    """Return the name of the file that holds what is expected, and its content."""
    try:
        # The version changes with every release.
        return EXPECTED, _VERSION.sub(r"\1VERSION", without_crd_schemas(package.text(values)))
    except RefusedError as error:
        # The line in the schema changes with every option that is added above.
        return EXPECTED_ERROR, _SCHEMA_LINE.sub(r"\1", str(error)).strip() + "\n"


@pytest.mark.parametrize("case", sorted(CASES))
def test_render(case: str, request: pytest.FixtureRequest) -> None:
    directory = GOLDEN / case
    package = request.getfixturevalue(PACKAGES[directory.parent.name])
    name, content = outcome(package, directory / "values.yaml")
    if request.config.getoption("--update-golden"):
        for each in (EXPECTED, EXPECTED_ERROR):
            (directory / each).unlink(missing_ok=True)
        (directory / name).write_text(content)
    (expected,) = [path for path in directory.iterdir() if path.name != "values.yaml"]
    assert (name, content) == (expected.name, expected.read_text())


@pytest.mark.parametrize("name", PACKAGES)
def test_every_directory_is_a_case(name: str) -> None:
    directories = {path.relative_to(GOLDEN).as_posix() for path in (GOLDEN / name).iterdir()}
    assert directories == {case for case in CASES if case.startswith(f"{name}/")}
    assert len(directories) > 25
