"""What `render` prints is what kapp-controller makes of the Package: its steps in order, with real tools."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from carvelwright.project.workspace import DEFAULT_GO
from carvelwright.report import Recorder
from carvelwright.tools import gomod, toolchain
from carvelwright.tools.toolchain import Search
from tests.helpers.refusals import refused

if TYPE_CHECKING:
    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

TEMPLATE = "package/package.yaml.j2"
CONFIG = "bundle/config"
CHART = {
    "chart/Chart.yaml": 'apiVersion: v2\nname: hello\nversion: 1.2.3\nkubeVersion: ">=1.27.0-0"\n',
    "chart/values.yaml": "greeting: from the chart\nreplicas: 1\nimage: hello\n",
    "chart/crds/crd.yaml": """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: greetings.example.com}
spec:
  group: example.com
  names: {kind: Greeting, plural: greetings}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
""",
    "chart/templates/_names.tpl": '{{- define "name" }}{{ .Release.Name }}-hello{{ end -}}\n',
    "chart/templates/deployment.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "name" . }}
  namespace: {{ .Release.Namespace }}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      containers:
        - {name: hello, image: {{ .Values.image }}, args: [{{ .Values.greeting | quote }}]}
""",
    "values/values.yaml": '#@ load("@ytt:data", "data")\n---\ngreeting: #@ data.values.greeting\n'
    "replicas: #@ data.values.replicas\n",
    "overlays/labels.yaml": """\
#@ load("@ytt:overlay", "overlay")
#@overlay/match by=overlay.all, expects="1+"
---
metadata:
  #@overlay/match missing_ok=True
  labels:
    added: "yes"
""",
}
STEPS = """\
template:
  - ytt: {paths: [config/values/, config/values-schema.yaml]}
  - helmTemplate: {path: config/chart, valuesFrom: [{path: "-"}]}
  - ytt: {paths: ["-", config/overlays/]}
  - kbld: {paths: ["-", .imgpkg/images.yml]}
deploy:
  - kapp: {rawOptions: ["--wait-timeout=5m"]}
"""


def write(project: PackageProject, files: dict[str, str], steps: str) -> None:
    """Put other templates and other steps in the place of the project's own."""
    for path in sorted((project.root / CONFIG).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, text in files.items():
        path = project.root / CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    template = project.root / TEMPLATE
    template.write_text(f"{template.read_text()}{steps}")


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned helm, which only packages that run it build."""
    return toolchain.find_helm(Search(Path(), None, DEFAULT_GO, dict(os.environ)), Recorder()).path


@pytest.fixture
def chart(hello: PackageProject, helm: Path) -> PackageProject:
    """The second example package, from a chart, with helm on PATH."""
    write(hello, CHART, STEPS)
    return replace(
        hello, environment={**hello.environment, "PATH": f"{helm.parent}{os.pathsep}{hello.environment['PATH']}"}
    )


def test_the_page_on_charts_shows_these_steps(repository_root: Path) -> None:
    page = (repository_root / "docs/how-to/package-a-helm-chart.md").read_text()
    assert f"```yaml\n{STEPS}```" in page
    assert CHART["values/values.yaml"] in page


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in YAML(typ="safe").load_all(text) if document]


def test_a_chart_gets_the_values_of_the_schema_and_the_name_of_the_install(chart: PackageProject) -> None:
    crd, deployment = documents(chart.run("render").ok().out)
    assert (crd["kind"], crd["metadata"]["labels"]) == ("CustomResourceDefinition", {"added": "yes"})
    assert deployment["metadata"] == {"name": "hello-hello", "namespace": "my-packages", "labels": {"added": "yes"}}
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == ["hello"]
    (chart.root / "values.yaml").write_text("greeting: good evening\nreplicas: 2\n")
    asked = ["render", "-f", "values.yaml", "--name", "second", "-n", "elsewhere"]
    _, deployment = documents(chart.run(*asked).ok().out)
    assert deployment["metadata"]["name"] == "second-hello"
    assert deployment["metadata"]["namespace"] == "elsewhere"
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == ["good evening"]
    (chart.root / "values.yaml").write_text("replicas: 9\n")
    refused(chart, ["render", "-f", "values.yaml"], 3, ["must be: a value <= 5", "values.yaml:1"])


def test_a_chart_that_comes_first_gets_the_values_of_the_install_itself(chart: PackageProject) -> None:
    chart.replace(TEMPLATE, "  - ytt: {paths: [config/values/, config/values-schema.yaml]}\n", "")
    chart.replace(TEMPLATE, 'valuesFrom: [{path: "-"}]', "name: fixed, namespace: of-its-own")
    _, deployment = documents(chart.run("render").ok().out)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == ["from the chart"]
    (chart.root / "values.yaml").write_text("greeting: mine\n")
    _, deployment = documents(chart.run("render", "-f", "values.yaml", "--name", "other").ok().out)
    assert deployment["metadata"]["name"] == "fixed-hello"
    assert deployment["metadata"]["namespace"] == "of-its-own"
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"] == ["mine"]


def test_what_the_server_makes_of_the_published_package_is_what_render_prints(
    chart: PackageProject, toolset: Toolchain, helm: Path, registry: str, tmp_path: Path
) -> None:
    assert chart.run("check").ok().out == "ok: no problems found\n"
    release = json.loads(chart.run("build", "--to", f"{registry}/p", "--format", "json").ok().out)
    assert release["tools"]["helm"] == helm.parent.joinpath("versions.json").read_text().split('"')[3]
    (package,) = chart.root.glob("dist/packages/*/1.0.0+build.1.yml")
    (spec,) = (document["spec"]["template"]["spec"] for document in documents(package.read_text()))
    assert spec["deploy"] == [{"kapp": {"rawOptions": ["--wait-timeout=5m"]}}]
    bundle = tmp_path / "bundle"
    image = release["published"]["packages"][0]["bundle"]
    subprocess.run([toolset.imgpkg.path, "pull", "-b", image, "-o", bundle], check=True, capture_output=True)
    # The command lines of kapp-controller's steps, written down from its documentation.
    values, rendered, overlaid, locked = (next(iter(step.items())) for step in spec["template"])
    commands = [
        [toolset.ytt.path, *(part for path in values[1]["paths"] for part in ("-f", bundle / path))],
        [
            helm,
            "template",
            "hello",
            bundle / rendered[1]["path"],
            "-n",
            "my-packages",
            "--include-crds",
            "--values",
            "-",
        ],
        [toolset.ytt.path, "-f", "-", "-f", bundle / overlaid[1]["paths"][1]],
        [
            toolset.kbld.path,
            "-f",
            "-",
            "-f",
            bundle / locked[1]["paths"][1],
            "--build=false",
            "--images-annotation=false",
        ],
    ]
    output = b""
    for command in commands:
        output = subprocess.run(command, input=output, check=True, capture_output=True).stdout
    (locked_image,) = (each["reference"] for each in release["packages"][0]["images"])
    made = documents(output.decode())
    container = made[1]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"].rpartition("@")[2] == locked_image.rpartition("@")[2]
    container["image"] = "hello"
    assert made == documents(chart.run("render").ok().out)


def test_plain_yaml_goes_through_kbld_alone(hello: PackageProject) -> None:
    plain = {
        "plain/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: default}\n"
        "data: {a: '(@ no ytt @)'}\n",
        "plain/a.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: default}\n"
        "spec: {containers: [{name: a, image: hello}]}\n",
    }
    write(hello, plain, "template: [{kbld: {paths: [config/plain, .imgpkg/images.yml]}}]\n")
    found = documents(hello.run("render").ok().out)
    assert [document["kind"] for document in found] == ["Pod", "ConfigMap"]
    assert found[0]["spec"]["containers"][0]["image"] == "hello"
    assert found[0]["metadata"] == {"name": "a", "namespace": "default"}
    assert found[1]["data"] == {"a": "(@ no ytt @)"}
    assert hello.run("check").ok().out == "ok: no problems found\n"


def test_a_step_that_names_nothing_reads_the_bundle_and_then_the_step_before(hello: PackageProject) -> None:
    before = documents(hello.run("render").ok().out)
    template = hello.root / TEMPLATE
    template.write_text(template.read_text() + "template: [{ytt: {}}, {kbld: {}}]\n")
    assert documents(hello.run("render").ok().out) == before


def test_inline_files_file_marks_and_values_of_the_bundle_are_passed_on(hello: PackageProject) -> None:
    extra = """\
template:
  - ytt:
      paths: [config/base, config/overlays, config/values-schema.yaml, config/more.txt]
      ignoreUnknownComments: true
      fileMarks: ["more.txt:type=yaml-plain"]
      inline: {paths: {sub/inline.yaml: "kind: Inline\\n"}}
      valuesFrom: [{path: config/own.yml}, {secretRef: {name: in-the-cluster}}]
  - kbld: {paths: ["-", .imgpkg/images.yml]}
"""
    (hello.root / CONFIG / "more.txt").write_text("kind: Marked\n# of helm, for example\n")
    (hello.root / CONFIG / "own.yml").write_text("greeting: own\nreplicas: 4\n")
    template = hello.root / TEMPLATE
    template.write_text(template.read_text() + extra)
    (hello.root / "values.yaml").write_text("replicas: 5\n")
    found = documents(hello.run("render", "-f", "values.yaml").ok().out)
    deployment, *others = sorted(found, key=lambda document: str(document["kind"]))
    assert [document["kind"] for document in others] == ["Inline", "Marked"]
    assert deployment["spec"]["replicas"] == 5
    assert deployment["spec"]["template"]["spec"]["containers"][0]["args"][0] == "own"
    warned = hello.run("check", "--format", "json")
    told = [each["message"] for each in json.loads(warned.out) if each["severity"] == "warning"]
    assert told == [
        "missing key 'path' in template[0].ytt.valuesFrom[1]: it is read in the cluster: rendering leaves it out"
    ]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            'template: [{ytt: {paths: ["-"]}}, {kbld: {paths: ["-", .imgpkg/images.yml]}}]',
            ["j2:8:27: no step comes before this one", "found: -"],
        ),
        (
            'template: [{ytt: {paths: [config/, conf/]}}, {kbld: {paths: ["-", .imgpkg/images.yml]}}]',
            ["j2:8:36: not in the bundle", "found: conf/", "expected: a path such as config/"],
        ),
        (
            "template: [{ytt: {paths: [config/]}}, {kbld: {paths: [.imgpkg/images.yml]}}]",
            ["j2:8:46: this step loses the output of the step before", "expected: - among the paths that it reads"],
        ),
        (
            "template: [{ytt: {paths: [config/]}}]",
            ["j2:8:1: no step puts the locked images in the place", "expected: a kbld step with paths - and .imgpkg"],
        ),
        (
            'template: [{helmTemplate: {path: config/no}}, {kbld: {paths: ["-", .imgpkg/images.yml]}}]',
            ["j2:8:34: not in the bundle"],
        ),
    ],
)
def test_steps_that_the_server_could_not_run_are_named(hello: PackageProject, steps: str, told: list[str]) -> None:
    template = hello.root / TEMPLATE
    template.write_text(f"{template.read_text()}{steps}\n")
    for command in ("check", "render", "build"):
        refused(hello, [command], 3, told)


def test_a_chart_that_helm_refuses_is_reported_in_its_words(chart: PackageProject) -> None:
    chart.replace(f"{CONFIG}/chart/Chart.yaml", ">=1.27.0-0", ">=9.0.0")
    refused(chart, ["render"], 3, ["helm refused the chart or its values", "requires kubeVersion: >=9.0.0"])


def test_helm_is_asked_for_only_where_a_step_runs_it(hello: PackageProject, chart: PackageProject) -> None:
    listed = json.loads(chart.run("doctor", "--format", "json").ok().out)["tools"]
    assert [tool["name"] for tool in listed][-1] == "helm"
    without = replace(chart, environment=hello.environment)
    refused(without, ["render"], 4, ["missing or wrong: helm", "put helm on PATH"])
    chart.replace(TEMPLATE, STEPS, "")
    assert "helm" not in without.run("doctor").ok().out


def test_charts_see_the_kubernetes_that_helm_is_built_for() -> None:
    """As in helm's own releases: the minor version of the libraries that it pins."""
    pins = Search(Path(), None, DEFAULT_GO, {"HOME": "/nowhere"}).pins()["helm"]
    minor = gomod.load(pins.module / "go.mod").requirements["k8s.io/client-go"].version.split(".")[1]
    assert dict(toolchain.HELM.linked)["pkg/chartutil.k8sVersionMinor"] == minor
