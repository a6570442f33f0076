"""What `carvelwright` exports: each name, without a cost for who does not use it."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import carvelwright
from carvelwright import CarvelwrightError, ExitCode, InputError, open_workspace

# What no caller of the library ever gets.
OF_THE_COMMAND_LINE = {
    ExitCode.DIFFERENT,
    ExitCode.VULNERABLE,
    ExitCode.UNVERIFIED,
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
}


def imported(statement: str) -> set[str]:
    """Return the modules of ours that a statement imports."""
    code = f"import sys\n{statement}\nprint(*[name for name in sys.modules if name.startswith('carvelwright')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_name_is_there_and_type_checkers_see_the_same() -> None:
    names = sorted(carvelwright.__all__)
    assert all(getattr(carvelwright, name).__name__ == name for name in names)
    assert set(names) <= set(dir(carvelwright))
    tree = ast.parse(Path(inspect.getfile(carvelwright)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    static = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert sorted(alias.name for node in static for alias in node.names) == names
    homes = {f"carvelwright.{module}": sorted(found) for module, found in carvelwright._HOMES.items()}
    assert {str(node.module): sorted(alias.name for alias in node.names) for node in static} == homes


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'carvelwright' has no attribute 'bild'"):
        carvelwright.bild  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'bild'"):
        exec("from carvelwright import bild")  # noqa: S102


def test_only_what_is_used_is_imported() -> None:
    assert imported("import carvelwright; carvelwright.__version__") == {"carvelwright"}
    assert imported("from carvelwright import CarvelwrightError") == {"carvelwright", "carvelwright.errors"}


def test_each_exit_code_of_a_failure_has_a_class() -> None:
    members = [getattr(carvelwright, name) for name in carvelwright.__all__]
    errors = [one for one in members if inspect.isclass(one) and issubclass(one, CarvelwrightError)]
    codes = [one.exit_code for one in errors if one.__base__ is CarvelwrightError]
    assert set(codes) - OF_THE_COMMAND_LINE == set(ExitCode) - OF_THE_COMMAND_LINE


def test_a_directory_without_a_project_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a package project"):
        open_workspace(tmp_path, {})


def test_the_environment_is_copied_and_its_home_is_absolute(repository_root: Path) -> None:
    environment = {"HOME": "relative", "DOCKER_CONFIG": "x"}
    workspace = open_workspace(repository_root, environment)
    environment.clear()
    assert workspace.environment == {"HOME": str(Path("relative").absolute()), "DOCKER_CONFIG": "x"}
    assert "DOCKER_CONFIG" not in repr(workspace)
