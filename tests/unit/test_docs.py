"""What the documentation names exists: files behind links, make targets, commands and options, examples."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from carvelwright.cli.main import root
from carvelwright.store import PRODUCTS, REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "payload/**/*.md", "tests/**/*.md")
PAGES = sorted(path for place in PLACES for path in ROOT.glob(place))

_FENCE = re.compile(r"^ *```(?P<language>\w*)\n(?P<code>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_MAKE = re.compile(r"^ *make((?: +[^\s|&;>#`]+)+)", re.MULTILINE)
_CARVELWRIGHT = re.compile(r"(?:^|[\s`(])(?:\S*/bin/)?carvelwright((?: +[^\s|&;>#`)]+)*)", re.MULTILINE)
# Not payload/ and package/: every project has these, and pages speak of others than this one, too.
_FILE = re.compile(r"(?<![\w./-])(?:docs|examples|scripts|src|tests|tools)/[\w./+-]*\w\.\w+")
_TARGET = re.compile(r"^([a-z0-9-]+):", re.MULTILINE)
_PLACEHOLDER = re.compile(r"[A-Z….\[\]]+")


def links(text: str) -> list[str]:
    return [link for link in _LINK.findall(_SPAN.sub("", _FENCE.sub("", text))) if not re.match(r"[a-z]+:|#", link)]


def code(text: str) -> str:
    """Return what a page shows as code, a piece to a line; output of programs counts, since it names commands too.

    Python is left out: `import carvelwright` there is the library.
    """
    shown = [match["code"] for match in _FENCE.finditer(text) if match["language"] != "python"]
    fenced = [each.replace("\\\n", " ") for each in shown]
    return "\n".join([*fenced, *_SPAN.findall(_FENCE.sub("", text))])


def named_targets(text: str) -> set[str]:
    """Return the make targets that a page names; they stand before the variables."""
    calls = [itertools.takewhile(lambda word: "=" not in word, call.split()) for call in _MAKE.findall(code(text))]
    return {word for call in calls for word in call}


def faults(text: str) -> list[str]:
    """Return the commands and options of carvelwright that a page names and that do not exist."""
    return [fault for call in _CARVELWRIGHT.findall(code(text)) for fault in _faults(iter(call.split()))]


def _faults(words: Iterator[str]) -> Iterator[str]:
    command: click.Command = root
    context = click.Context(command)
    for word in words:
        if word.startswith("-"):
            options = {name: option for option in command.get_params(context) for name in option.opts}
            option = options.get(word.partition("=")[0])
            if option is None:
                yield f"{command.name}: no option {word}"
            elif isinstance(option, click.Option) and not option.is_flag and "=" not in word:
                next(words, None)
        elif isinstance(command, click.Group) and not _PLACEHOLDER.fullmatch(word):
            child = command.get_command(context, word)
            if child is None:
                yield f"{command.name}: no command {word}"
                return
            command, context = child, click.Context(child, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert [link for link in links(page.read_text()) if not (page.parent / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page: Path) -> None:
    assert faults(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    assert named_targets(page.read_text()) <= set(_TARGET.findall((ROOT / "Makefile").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_named_in_code_exist(page: Path) -> None:
    assert [name for name in _FILE.findall(code(page.read_text())) if not (ROOT / name).exists()] == []


def test_the_policies_of_the_page_are_the_files() -> None:
    """What a reader copies from the page is what `make e2e` applies."""
    page = ROOT / "docs/how-to/admit-only-published-images.md"
    shown = [match["code"] for match in _FENCE.finditer(page.read_text()) if match["language"] == "yaml"]
    named = [page.parent / link for link in links(page.read_text()) if "examples/admission" in link]
    assert shown == [path.read_text() for path in named]
    assert {path.resolve() for path in named} == set((ROOT / "examples/admission").iterdir())


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in reached:
            reached.add(page)
            waiting += [page.parent / link.partition("#")[0] for link in links(page.read_text()) if ".md" in link]
    assert set((ROOT / "docs").rglob("*.md")) - reached == set()


def test_every_command_is_documented_by_hand() -> None:
    """The generated reference lists all commands by itself; what they are for must stand in a page of ours."""
    written = [page for page in PAGES if "reference" not in page.parts]
    called = {call.split()[0] for page in written for call in _CARVELWRIGHT.findall(code(page.read_text())) if call}
    assert set(root.list_commands(click.Context(root))) <= called


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("`carvelwright bulid`", ["carvelwright: no command bulid"]),
        ("`carvelwright build --too x`", ["build: no option --too"]),
        ("```sh\n.venv/bin/carvelwright build \\\n  --dry-run --platfrom x\n```", ["build: no option --platfrom"]),
        ("`carvelwright values defalts`", ["values: no command defalts"]),
        ("`carvelwright --project check chek`", ["carvelwright: no command chek"]),
        ("carvelwright is not code here, `carvelwright` alone is no call", []),
        ("`carvelwright render -f FILE > /dev/null --nothing`", []),
        ("`(carvelwright check --format json)`", []),
    ],
)
def test_wrong_commands_are_found(text: str, expected: list[str]) -> None:
    # click names the root command after its function; on the command line it is the program.
    assert [fault.replace("root:", "carvelwright:") for fault in faults(text)] == expected


def test_wrong_links_targets_and_files_are_found() -> None:
    assert links("[a](b.md) [c](https://example.com) [d](#e) [f](g.md#h)") == ["b.md", "g.md#h"]
    assert named_targets("`make chek test TO=x`, and make sure. `make ARGS='-k x'`") == {"chek", "test"}
    assert _FILE.findall("see examples/a/b.yaml, ../examples/c.yaml and src/carvelwright/") == ["examples/a/b.yaml"]


def test_the_page_on_the_schema_library_lists_all_of_it() -> None:
    library = ROOT / "src/carvelwright/library"
    public = re.compile(r"^(?:#@ )?(?:def )?(?P<name>[a-z]\w*)(?:\(| = )", re.MULTILINE)
    names = {match["name"] for path in library.iterdir() for match in public.finditer(path.read_text())} - {"load"}
    page = (ROOT / "docs/how-to/schema-library.md").read_text()
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    documented = {name for cell in cells for name in re.findall(r"`([a-z]\w*)(?:`|\()", cell)} | {"plain"}
    assert documented == names
    assert all(f"`/carvelwright/{path.name}`" in page for path in library.iterdir())


def test_design_lists_every_kind_of_product() -> None:
    page = (ROOT / "docs/explanation/design.md").read_text()
    assert [kind for kind in (*PRODUCTS, *REMEMBERED) if f"\n| `{kind}` |" not in page] == []
