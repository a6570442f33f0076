"""What the source of the packaged software says of itself, and what differs between two versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carvelwright import upstream
from carvelwright.upstream import Change

if TYPE_CHECKING:
    from pathlib import Path

    from carvelwright.upstream.facts import Facts

FLAGS = """package main

import (
	"flag"
	"os"
)

var v string

// flag.String("commented", "", "not there")
func main() {
	flag.StringVar(&v, "level", "info", "How much is logged.")
	fs := flag.NewFlagSet("x", flag.ExitOnError)
	fs.Bool("dry-run", false, "Only say it.")
	cmd.PersistentFlags().StringSliceVarP(&o.names, "name", "n", nil, "Names.")
	zap.String("key", v)
	os.Getenv("NODE")
	os.LookupEnv("POD")
}
"""
CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pools.example.com}
spec:
  scope: Namespaced
  names: {kind: Pool, plural: pools}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          description: Words.
          properties:
            spec:
              type: object
              required: [range]
              properties:
                range: {type: string, description: Words.}
                parts:
                  type: array
                  items: {type: integer, minimum: 1}
                labels:
                  type: object
                  additionalProperties: {type: string}
"""


def read(directory: Path, **texts: str) -> Facts:
    for name, text in texts.items():
        path = directory / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return upstream.read(directory)


def found(facts: Facts, kind: str) -> dict[str, str | None]:
    return {key: facts.text(kind, key) for key in facts.found[kind]}


def test_flags_and_variables_are_found_with_their_defaults_and_words(tmp_path: Path) -> None:
    facts = read(tmp_path, cmd__x__main_dot_go=FLAGS)
    assert found(facts, "flags") == {
        "cmd/x --level": '"info", "How much is logged."',
        "cmd/x --dry-run": 'false, "Only say it."',
        "cmd/x --name": '"n", nil, "Names."',
    }
    assert found(facts, "environment") == {"NODE": "cmd/x", "POD": "cmd/x"}


def test_a_file_without_a_library_of_flags_has_none(tmp_path: Path) -> None:
    text = 'package x\n\nfunc f() { flags.String("level", "", "") }\n'
    assert found(read(tmp_path, x_dot_go=text), "flags") == {}


@pytest.mark.parametrize("name", ["x_test_dot_go", "vendor__x_dot_go", "test__e2e__x_dot_go", "_dot_hidden__x_dot_go"])
def test_tests_and_vendored_code_are_left_out(tmp_path: Path, name: str) -> None:
    assert found(read(tmp_path, **{name: FLAGS}), "flags") == {}


def test_rights_of_roles_and_of_markers(tmp_path: Path) -> None:
    role = """kind: ClusterRole
metadata: {name: x}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [list, get]}
  - {apiGroups: [apps], resources: [deployments], resourceNames: [a], verbs: ["*"]}
  - {nonResourceURLs: [/metrics], verbs: [get]}
"""
    marker = (
        "package x\n\n// +kubebuilder:rbac:groups=apps;batch,resources=jobs,verbs=get;list\n"
        '//+kubebuilder:rbac:groups="",resources=nodes,resourceNames=a;b,verbs=watch\n'
    )
    assert found(read(tmp_path, role_dot_yaml=role, x_dot_go=marker), "rights") == {
        "ClusterRole x: core/pods": "get, list",
        "ClusterRole x: apps/deployments a": "*",
        "ClusterRole x: /metrics": "get",
        "kubebuilder: apps/jobs": "get, list",
        "kubebuilder: batch/jobs": "get, list",
        "kubebuilder: core/nodes a, b": "watch",
    }


def test_a_charts_template_is_read_without_helm(tmp_path: Path) -> None:
    template = """{{- if .Values.rbac }}
kind: ClusterRole
metadata:
  name: {{ include "x.name" . }}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get]}
{{- end }}
---
kind: Deployment
metadata: {name: x}
spec: {containers: [{image: "{{ .Values.image }}"}, {image: "example.com/side:1.0"}]}
"""
    facts = read(tmp_path, chart__Chart_dot_yaml="name: x\n", chart__templates__a_dot_yaml=template)
    assert found(facts, "rights") == {"ClusterRole of chart/templates/a.yaml: core/pods": "get"}
    assert found(facts, "images") == {"Deployment x: example.com/side": "1.0"}
    assert facts.unread == []


def test_images_of_dockerfiles_without_their_stages(tmp_path: Path) -> None:
    text = "FROM --platform=$BUILDPLATFORM golang:1.25 AS build\nRUN x\nFROM build AS more\nfrom alpine@sha256:00\n"
    assert found(read(tmp_path, Dockerfile=text), "images") == {
        "Dockerfile: FROM golang": "1.25",
        "Dockerfile: FROM alpine": "sha256:00",
    }


def test_values_of_charts_by_path_and_of_nothing_else(tmp_path: Path) -> None:
    values = "image: {tag: '1'}\nlist: [1, a]\nempty: {}\n"
    facts = read(
        tmp_path, chart__Chart_dot_yaml="name: x\n", chart__values_dot_yaml=values, other__values_dot_yaml=values
    )
    assert found(facts, "values") == {"chart: image.tag": '"1"', "chart: list": '[1, "a"]', "chart: empty": "{}"}


def test_crds_change_by_schema_path_and_not_by_words(tmp_path: Path) -> None:
    old = read(tmp_path / "old", crds__pools_dot_yaml=CRD, go_dot_mod="module x\n\ngo 1.24\n")
    changed = (
        CRD.replace("Words.", "Other words.")
        .replace("minimum: 1", "minimum: 2")
        .replace("required: [range]", "required: [range, parts]")
        .replace("additionalProperties: {type: string}", "additionalProperties: {type: integer}")
    )
    new = read(tmp_path / "new", crds__pools_dot_yaml=changed, go_dot_mod="module x\n\ngo 1.25\n")
    at = "pools.example.com v1 .spec"
    assert upstream.compare(old, new) == (
        Change("go", "go", "1.24", "1.25"),
        Change("crds", f"{at}.labels.*", '{"type": "string"}', '{"type": "integer"}'),
        Change("crds", f"{at}.parts", '{"type": "array"}', '{"type": "array"}, required'),
        Change("crds", f"{at}.parts[]", '{"minimum": 1, "type": "integer"}', '{"minimum": 2, "type": "integer"}'),
    )


def test_what_is_new_and_what_is_gone(tmp_path: Path) -> None:
    old = read(tmp_path / "old", x_dot_go=FLAGS)
    new = read(tmp_path / "new", x_dot_go=FLAGS.replace('"dry-run"', '"dry"'))
    text = 'false, "Only say it."'
    assert upstream.compare(old, new) == (
        Change("flags", ". --dry", None, text),
        Change("flags", ". --dry-run", text, None),
    )
    assert upstream.compare(old, old) == ()


@pytest.mark.parametrize(
    "text",
    [
        "kind: ClusterRole\n: [",
        "kind: CustomResourceDefinition\nspec: 7\n",
        "kind: CustomResourceDefinition\nspec: {versions: 7}\n",
        "kind: CustomResourceDefinition\nspec: {versions: [7, {schema: 7}, {schema: {openAPIV3Schema: [7]}}]}\n",
        "kind: ClusterRole\nrules: {a: b}\n",
        "kind: ClusterRole\nrules: [7, {apiGroups: a, resources: 7}]\nmetadata: 7\n",
        "kind: Role\nimage: [7, {image: 7}]\n",
        "a: &a [*a, image: b]\n",
        "kind: [ClusterRole]\nimage: x\n",
    ],
)
def test_nonsense_in_manifests_is_no_failure(tmp_path: Path, text: str) -> None:
    read(tmp_path, x_dot_yaml=text)


def test_what_is_no_yaml_is_told(tmp_path: Path) -> None:
    facts = read(tmp_path, a__x_dot_yaml="kind: ClusterRole\n: [", b__Chart_dot_yaml="", b__values_dot_yaml="a: [")
    assert facts.unread == ["a/x.yaml", "b/values.yaml"]


def test_bytes_that_are_no_text_are_no_failure(tmp_path: Path) -> None:
    (tmp_path / "x.go").write_bytes(b"\xff\xfe flag")
    (tmp_path / "x.yaml").write_bytes(b"image: \xff\x00")
    assert upstream.read(tmp_path).unread == ["x.yaml"]


@pytest.mark.parametrize("text", ["{{" * 1_000_000, "{" * 2_000_000, "{{ a" * 500_000])
def test_a_hostile_template_takes_no_long_time(tmp_path: Path, text: str) -> None:
    # It would not end for hours if each brace were looked at anew from every other.
    assert read(tmp_path, x_dot_yaml=f"image: {text}\n").unread == ["x.yaml"]


def test_hostile_go_takes_no_long_time(tmp_path: Path) -> None:
    text = f'import "flag"\n{"flag" * 500_000}\n{"/*" * 500_000}\n{"fs.String(" * 200_000}\n'
    assert found(read(tmp_path, x_dot_go=text), "flags") == {}
