"""Recipes: what makes a product is in its key, and what does not is not."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from carvelwright import recipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def package(repository_root: Path) -> Path:
    return repository_root / "src/carvelwright"


def imports(path: Path, package: Path) -> set[str]:
    """Return the modules of the package that a module imports at run time, wherever in its text."""
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "carvelwright":
            base = package.joinpath(*node.module.split(".")[1:])
            for alias in node.names:
                inner = base / f"{alias.name}.py"
                found.add((inner if inner.is_file() else base.with_suffix(".py")).relative_to(package).as_posix())
        assert not (isinstance(node, ast.Import) and any("carvelwright" in alias.name for alias in node.names))
    return {name for name in found if (package / name).is_file()}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every node but those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from statements(child)


@pytest.mark.parametrize("kind", recipe.PARTS)
def test_a_recipe_names_every_module_that_shapes_its_product(package: Path, kind: str) -> None:
    parts = recipe.PARTS[kind]
    assert all((package / name).is_file() for name in (*parts, *recipe.NEUTRAL))
    reached = {found for name in parts if name.endswith(".py") for found in imports(package / name, package)}
    assert reached - set(parts) - set(recipe.NEUTRAL) == set()


def test_neutral_modules_lead_to_no_other_kind_of_module(package: Path) -> None:
    reading = {"project/validation.py", "yamldoc.py"}
    for name in recipe.NEUTRAL:
        assert imports(package / name, package) - set(recipe.NEUTRAL) <= reading, name


def test_every_kind_of_product_has_a_recipe(package: Path) -> None:
    text = "".join(path.read_text() for path in package.rglob("*.py"))
    kinds = set(re.findall(r'\.(?:product|remember)\(\s*"([a-z-]+)"', text))
    assert "payload" in kinds
    # What a project's files are checked for goes by the whole of our code.
    assert kinds - {"validated", "checked", "history"} <= set(recipe.PARTS)


RECIPES = """
from carvelwright import recipe
print({kind: str(recipe.of(kind)) for kind in recipe.PARTS} | {"all": str(recipe.of_everything())})
"""


def with_change(tmp_path: Path, package: Path, name: str) -> dict[str, str]:
    """Return the recipes of a copy of the package in which one file has one line more."""
    copy = tmp_path / "copy/carvelwright"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / name).open("a") as file:
        file.write("\n")
    done = subprocess.run(
        [sys.executable, "-c", RECIPES],
        env={"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        check=True,
        text=True,
    )
    found: dict[str, str] = ast.literal_eval(done.stdout)
    return found


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("tools/compiler.py", {"payload", "tools", "crds"}),
        ("oci/layer.py", {"layer", "image"}),
        ("steps/layer.py", {"layer", "image"}),
        ("oci/image.py", {"image"}),
        ("project/schemas/package.json", {"package"}),
        ("yamldoc.py", {"package", "images", "manifests", "schema"}),
        ("cli/build.py", set()),
        ("steps/dist.py", set()),
    ],
)
def test_a_changed_line_changes_what_it_makes_and_nothing_else(
    tmp_path: Path, package: Path, name: str, changed: set[str]
) -> None:
    now = {kind: str(recipe.of(kind)) for kind in recipe.PARTS} | {"all": str(recipe.of_everything())}
    then = with_change(tmp_path, package, name)
    assert {kind for kind in now if now[kind] != then[kind]} == changed | {"all"}


def test_libraries_are_named_with_their_versions() -> None:
    assert recipe.libraries("jinja2", "ruamel.yaml", "no-such-library") == [
        f"jinja2-{version('jinja2')}.dist-info",
        f"ruamel_yaml-{version('ruamel.yaml')}.dist-info",
    ]
