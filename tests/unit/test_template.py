"""Package templates: one that only names values is filled in without a process, and gives what jinja2 gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carvelwright.steps.template import fill, render

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = {"version": "1.0.0+a.1", "upstream": "1.0.0", "go": "1.27.3"}
FRAGMENTS = ["{{", "}}", "{#", "#}", "{%", "%}", "{", "}", "#", "-", "+", " ", "\n", "\r\n", "\t", "go", "version", "a"]
FRAGMENTS += [
    "{{ go }}",
    "{{-go-}}",
    "{# a #}",
    "{#- a -#}",
    "{{ go + go }}",
    "{{ none }}",
    "{% if go %}",
    "{% endif %}",
]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join))
@example("{#- a -#} \n b{{ go }}\n\n")
@example("{{{go}}")
@example("{{ go }}}")
@example("{#}{{ go }}")
@example("{#-#}{{ go }}{#")
@example("{#+ a #} {{- go -}} \n{#")
@example("{# {{ no }} {% no %} #}")
def test_what_is_filled_in_is_what_jinja2_renders(template: str) -> None:
    filled = fill(template, KNOWN)
    assert filled is None or render(template, KNOWN, 10_000) == {"text": filled}


@pytest.mark.parametrize("template", ["{% for x in y %}{% endfor %}", "{{ go * 2 }}", "{{ none }}", "{{", "{# a"])
def test_what_is_a_program_or_wrong_is_left_to_jinja2(template: str) -> None:
    assert fill(template, KNOWN) is None


def test_our_own_templates_are_filled_in(repository_root: Path) -> None:
    filled = fill((repository_root / "examples/hello-package/package/package.yaml.j2").read_text(), KNOWN)
    assert filled
    assert "version: 1.0.0\n" in filled
    for name in ("package/package.yaml.j2", "packages/multus-cni/package/package.yaml.j2"):
        assert fill((repository_root / name).read_text(), KNOWN)


@pytest.mark.parametrize("part", ["{#", "{{", "{{ ", "{{a", "{", "{{go}}{#", " {#- "])
def test_no_template_takes_the_square_of_its_length(part: str) -> None:
    fill(part * 200_000, KNOWN)
