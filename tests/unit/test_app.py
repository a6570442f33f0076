"""The App of a Package: what package.yaml.j2 may set, and what the server would not do with it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from carvelwright import yamldoc
from carvelwright.carvel import accepted, app, rbac, resources
from carvelwright.carvel.version import PackageVersion
from carvelwright.project import validation
from carvelwright.reference import Reference

ONE = Reference.parse("r.example.com/a/b@sha256:" + "1" * 64)


def package(static: dict[str, Any]) -> dict[str, Any]:
    version = PackageVersion.parse("1.0.0+a.1")
    return resources.package(
        "x.y.z", version, released_at="d", release_notes="n", static=static, values_schema={}, bundle=ONE
    )


WITHOUT = """\
---
apiVersion: data.packaging.carvel.dev/v1alpha1
kind: Package
metadata:
  name: x.y.z.1.0.0+a.1
spec:
  refName: x.y.z
  version: '1.0.0+a.1'
  releasedAt: d
  releaseNotes: 'n'
  licenses:
  - MIT
  valuesSchema:
    openAPIv3: {}
  template:
    spec:
      fetch:
      - imgpkgBundle:
          image: r.example.com/a/b@sha256:1111111111111111111111111111111111111111111111111111111111111111
      template:
      - ytt:
          paths:
          - config/
      - kbld:
          paths:
          - '-'
          - .imgpkg/images.yml
      deploy:
      - kapp: {}
"""


@pytest.mark.parametrize("more", [{}, {"template": None, "deploy": None}])
def test_a_package_that_says_nothing_is_made_as_ever_byte_for_byte(more: dict[str, Any]) -> None:
    assert yamldoc.dump(package({"licenses": ["MIT"], **more})) == WITHOUT


def test_template_and_deploy_stand_in_the_package_as_they_are_written() -> None:
    template = [{"helmTemplate": {"path": "config/chart"}}, {"kbld": {"paths": ["-", ".imgpkg/images.yml"]}}]
    deploy = [{"kapp": {"rawOptions": ["--wait-timeout=5m"], "intoNs": "a"}}]
    spec = package({"template": template, "deploy": deploy})["spec"]
    assert spec["template"]["spec"]["template"] == template
    assert spec["template"]["spec"]["deploy"] == deploy
    assert "deploy" not in spec


def test_another_template_or_deploy_is_another_release() -> None:
    plain = package({})
    assert resources.same_package(plain, package({}))
    assert not resources.same_package(plain, package({"deploy": [{"kapp": {"intoNs": "a"}}]}))
    assert not resources.same_package(plain, package({"template": [{"ytt": {"paths": ["config/"]}}]}))


def lines(text: str) -> list[str]:
    document = yamldoc.parse(text, Path("f"))
    return [line.strip() for problem in validation.problems(document, "package") for line in problem.lines()]


ACCEPTED = [
    'deploy: [{kapp: {rawOptions: ["--wait-timeout=5m"]}}]',
    "deploy: [{kapp: {intoNs: a, mapNs: [b=c], inspect: {}, delete: {rawOptions: [--apply-ignored=true]}}}]",
    "deploy: [{kapp: {inspect: {rawOptions: [--tree=true, --status=true]}}}]",
    "deploy:",
    'template: [{ytt: {paths: [config/], ignoreUnknownComments: true, fileMarks: ["a:exclude=true"]}}, {kbld: {}}]',
    "template: [{ytt: {inline: {paths: {a.yaml: b}, pathsFrom: [{secretRef: {name: a, directoryPath: b}}]}}}]",
    'template: [{helmTemplate: {path: a, name: b, namespace: c, valuesFrom: [{path: "-"}]}}]',
    "template: [{helmTemplate: {valuesFrom: [{configMapRef: {name: d}}]}}]",
    "template: [{helmTemplate: {kubernetesVersion: {}, kubernetesAPIs: {groupVersions: [a/v1]}}}]",
    "template: [{ytt: {valuesFrom: [{downwardAPI: {items: [{name: a, fieldPath: metadata.name}]}}]}}]",
    "template: [{kbld: {paths: [/config, ./config, a/../b]}}]",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_the_server_knows_of_apps_is_accepted(text: str) -> None:
    assert lines(text) == []


REFUSED = [
    ("deploy: []", "expected: one entry, kapp; default: kapp without options (at least 1 item(s))"),
    (
        "deploy: [{kapp: {}}, {kapp: {}}]",
        "expected: one entry, kapp; default: kapp without options (at most 1 item(s))",
    ),
    ("deploy: {kapp: {}}", "f:1:9: wrong value of deploy"),
    ("deploy: [{}]", "f:1:10: missing key 'kapp' in deploy[0]"),
    ("deploy: [{kapp: {status: {}}}]", "f:1:18: deploy[0].kapp.status is refused: kapp-controller has no such key"),
    ("deploy: [{kapp: {rawoptions: []}}]", "f:1:18: unknown key 'rawoptions' in deploy[0].kapp"),
    ("deploy: [{kapp: {intoNs: A}}]", "f:1:26: wrong value of deploy[0].kapp.intoNs: not a namespace"),
    ("deploy: [{kapp: {mapNs: [a]}}]", "expected: FROM=TO"),
    ('deploy: [{kapp: {rawOptions: ["--wait"]}}]', "rawOptions[0]: not an option: '--wait'"),
    ("deploy: [{kapp: {rawOptions: [--wait-timout=5m]}}]", "to kapp deploy; did you mean --wait-timeout?"),
    ("deploy: [{kapp: {rawOptions: [--yes=true]}}]", "kapp-controller does not pass --yes on to kapp deploy"),
    ("deploy: [{kapp: {delete: {rawOptions: [--patch=true]}}}]", "does not pass --patch on to kapp delete"),
    ("deploy: [{kapp: {inspect: {rawOptions: [--wait=true]}}}]", "does not pass --wait on to kapp inspect"),
    ("template: []", "(at least 1 item(s))"),
    ("template: {ytt: {}}", "f:1:11: wrong value of template"),
    ("template: [{ytt: {}, kbld: {}}]", "expected: one of ytt, kbld and helmTemplate (at most 1 key(s))"),
    ("template: [{}]", "expected: one of ytt, kbld and helmTemplate (at least 1 key(s))"),
    ("template: [{ytt: }]", "f:1:18: wrong value of template[0].ytt"),
    ("template: [{sops: {}}]", "template[0].sops is refused: carvelwright renders what ytt, kbld and helm make"),
    ("template: [{cue: {}}]", "template[0].cue is refused: carvelwright renders what ytt, kbld and helm make"),
    ("template: [{kustomize: {}}]", "template[0].kustomize is refused: kapp-controller does not implement it"),
    ("template: [{jsonnet: {}}]", "template[0].jsonnet is refused: kapp-controller does not implement it"),
    ("template: [{helm: {}}]", "f:1:13: unknown key 'helm' in template[0]"),
    ("template: [{ytt: {paths: [a/../..]}}]", "template[0].ytt.paths[0]: not a path in the bundle"),
    ("template: [{helmTemplate: {path: ../x}}]", "template[0].helmTemplate.path: not a path in the bundle"),
    ("template: [{ytt: {valuesFrom: [{}]}}]", "one of path, secretRef, configMapRef and downwardAPI"),
    ("template: [{ytt: {inline: {paths: {../a: b}}}}]", "not a path in the bundle"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_what_the_server_would_refuse_or_drop_is_refused(text: str, words: str) -> None:
    assert any(words in line for line in lines(text)), lines(text)


def test_options_are_those_of_kapp_controller() -> None:
    for command, name in itertools.product(accepted.KAPP_OPTIONS, ("wait-timeout", "tree", "patch", "json", "app")):
        assert (name in accepted.KAPP_OPTIONS[command]) == (
            name == "json"
            or (name == "wait-timeout" and command != "inspect")
            or (name == "tree" and command == "inspect")
            or (name == "patch" and command == "deploy")
        )


@pytest.mark.parametrize(
    ("kapp", "named", "expected"),
    [
        ({}, "", "installs"),
        ({}, "a", "a"),
        ({"intoNs": "b"}, "a", "b"),
        ({"mapNs": ["a=c", "installs=d"]}, "a", "c"),
        ({"mapNs": ["a=c", "installs=d"]}, "", "d"),
        ({"intoNs": "b", "mapNs": ["b=e"]}, "a", "e"),
        ({"intoNs": "b", "rawOptions": ["--wait=true", "--into-ns=f"]}, "a", "f"),
        ({"rawOptions": ["--map-ns=x=y,a=g"]}, "a", "g"),
    ],
)
def test_rights_are_for_the_namespaces_that_kapp_puts_objects_into(
    kapp: dict[str, Any], named: str, expected: str
) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": named}}
    cluster = {"apiVersion": "v1", "kind": "ClusterRole", "metadata": {"name": "c"}}
    placement = app.placement({"deploy": [{"kapp": kapp}]}, "installs")
    granted = rbac.manifests([manifest, cluster], rbac.Installer("i", "installs"), placement=placement)
    scopes = {
        resource: each["metadata"].get("namespace", "")
        for each in granted
        for rule in each.get("rules", ())
        for resource in rule["resources"]
    }
    assert (scopes["secrets"], scopes["clusterroles"]) == (expected, "")
