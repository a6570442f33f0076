"""What kapp and the API server refuse of rendered manifests, found before anything is published."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carvelwright import yamldoc
from carvelwright.errors import Severity, errors_among
from carvelwright.report import StreamReporter
from carvelwright.rules.manifests import document_problems, manifests
from carvelwright.session import open_session

if TYPE_CHECKING:
    from carvelwright.errors import Problem
    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\n"
ONE_LINE = "{apiVersion: v1, kind: ConfigMap, metadata: {name: one}}"
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    app: web
spec:
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      volumes:
        - name: data
          emptyDir: {}
      containers:
        - name: web
          image: web
          ports:
            - name: http
              containerPort: 8080
              hostPort: 80
          env:
            - name: LEVEL
              value: "3"
          livenessProbe:
            httpGet:
              port: http
          volumeMounts:
            - name: data
              mountPath: /data
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  ports:
    - name: http
      port: 80
      targetPort: http
      nodePort: 30080
    - name: dns
      port: 53
      protocol: UDP
"""
ROLE = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: system:web:Reader\n"
CRON_JOB = """\
apiVersion: batch/v1
kind: CronJob
metadata: {name: job}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: a}]}}}}}
"""
FINE = {
    "CronJob": CRON_JOB,
    "usual": f"{CONFIG_MAP}---\n{DEPLOYMENT}---\n{SERVICE}---\n{ROLE}",
    "nothing": "",
    "empty documents": f"---\n---\n{CONFIG_MAP}---\n{{}}\n---\n",
    "dotted name": CONFIG_MAP.replace("one", "kube-root-ca.crt"),
    "generateName": "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-}\n"
    "spec: {template: {spec: {containers: [{name: a, image: a}]}}}\n",
    "kapp's configuration": "apiVersion: kapp.k14s.io/v1alpha1\nkind: Config\nwaitRules: []\n",
    "a list of objects": f"kind: List\nitems:\n- {ONE_LINE}\n",
    "one name in two namespaces": "---\n".join(f"{CONFIG_MAP}  namespace: {n}\n" for n in ("a", "b")),
    "one name of two kinds": CONFIG_MAP + "---\n" + CONFIG_MAP.replace("ConfigMap", "Secret"),
    "one kind of two groups": "---\n".join(
        f"apiVersion: {group}.example.com/v1\nkind: Certificate\nmetadata: {{name: a}}\n" for group in ("a", "b")
    ),
    "another server's names": "apiVersion: data.packaging.carvel.dev/v1alpha1\nkind: Package\nmetadata:\n"
    "  name: a.example.com.1.0.0+vmware.1\n",
    "CustomResourceDefinition": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n"
    "  name: pools.example.com\nspec:\n  group: example.com\n  names:\n    plural: pools\n",
    "empty and null": f"{CONFIG_MAP}  labels: {{a: '', b: }}\n  annotations:\n",
    "annotations of any text": f"{CONFIG_MAP}  annotations: {{Example.com/Key_1: '{{}}: / %'}}\n",
    "an empty namespace": f"{CONFIG_MAP}  namespace: ''\n",
    "keys of data": f"{CONFIG_MAP}data: {{'a.b_C-d': '1', .hidden: '', e: }}\nbinaryData: {{b: 'MQ=='}}\n",
    "a Secret": f"{CONFIG_MAP.replace('ConfigMap', 'Secret')}stringData: {{a: '%'}}\ndata: {{a: \"MQ=\\n=\"}}\n",
    "no content": f"{CONFIG_MAP}data:\nbinaryData: {{}}\n",
    "one port by two protocols": SERVICE.replace("port: 53", "port: 80"),
    "probe of gRPC, hook of a named port": DEPLOYMENT.replace(
        "          livenessProbe:\n",
        "          lifecycle: {preStop: {httpGet: {port: http}}}\n          livenessProbe:\n",
    ).replace("httpGet:\n              port: http", "grpc:\n              port: 9000"),
    "kapp's versioned name": f"{CONFIG_MAP}  annotations: {{kapp.k14s.io/versioned: ''}}\n",
}


def problems(text: str, source: Path = Path("/nowhere")) -> list[Problem]:
    return document_problems(yamldoc.load_all_text(text, Path("rendered")), source)


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_what_the_server_takes(text: str) -> None:
    assert problems(text) == []


def test_no_golden_rendering_has_a_problem(repository_root: Path) -> None:
    rendered = sorted((repository_root / "tests/golden/render").glob("*/expected.yaml"))
    assert rendered
    for path in rendered:
        assert problems(path.read_text()) == [], path


WRONG = {
    "no kind": (CONFIG_MAP.replace("kind: ConfigMap\n", ""), "object one: no kind"),
    "no apiVersion": (CONFIG_MAP.replace("apiVersion: v1\n", ""), "ConfigMap one: no apiVersion"),
    "no name": (CONFIG_MAP.replace("name: one", "namespace: one"), "ConfigMap: no metadata.name"),
    "no metadata": ("apiVersion: v1\nkind: ConfigMap\n", "ConfigMap: no metadata"),
    "kind of a number": (CONFIG_MAP.replace("kind: ConfigMap", "kind: 1"), "1 one: wrong value of kind"),
    "name of a number": (CONFIG_MAP.replace("one", "12"), "ConfigMap 12: wrong value of metadata.name"),
    "two slashes": (CONFIG_MAP.replace("v1", "a/b/v1"), "ConfigMap one: wrong value of apiVersion"),
    "data of a number": (f"{CONFIG_MAP}data: {{a: 1}}\n", "ConfigMap one: the value of data a is not text"),
    "data of a list": (f"{CONFIG_MAP}data: [a]\n", "ConfigMap one: data is no map"),
    "key with a slash": (f"{CONFIG_MAP}data: {{a/b: x}}\n", "ConfigMap one: wrong key of data"),
    "key that leads up": (f"{CONFIG_MAP}data: {{..a: x}}\n", "ConfigMap one: wrong key of data"),
    "key that is not text": (f"{CONFIG_MAP}data: {{1: x}}\n", "ConfigMap one: wrong key of data"),
    "one key in two fields": (
        f"{CONFIG_MAP}data: {{a: x}}\nbinaryData: {{a: MQ==}}\n",
        "ConfigMap one: key a is in data and in binaryData",
    ),
    "a Secret in plain text": (
        f"{CONFIG_MAP.replace('ConfigMap', 'Secret')}data: {{a: pass word}}\n",
        "Secret one: the value of data a is not base64",
    ),
    "lower-case protocol": (SERVICE.replace("UDP", "udp"), "Service web: not a protocol"),
    "one port by two names": (
        SERVICE.replace("port: 53\n      protocol: UDP", "port: 80"),
        "Service web: the same port twice",
    ),
    "port of a hook": (
        DEPLOYMENT.replace(
            "          livenessProbe:\n",
            "          lifecycle: {preStop: {httpGet: {port: 99999}}}\n          livenessProbe:\n",
        ),
        "Deployment web: port is not a port",
    ),
    "port of gRPC": (
        DEPLOYMENT.replace("httpGet:\n              port: http", "grpc:\n              port: 99999"),
        "Deployment web: port is not a port",
    ),
    "a list": ("- a\n", "a document: a list instead of an object"),
    "a scalar": ("hello\n", "a document: a scalar instead of an object"),
    "an item of a list": (
        "kind: List\nitems:\n- {kind: ConfigMap, metadata: {name: a}}\n",
        "ConfigMap a: no apiVersion",
    ),
    "name": (CONFIG_MAP.replace("one", "One"), "ConfigMap One: not a name for a ConfigMap"),
    "name of a Namespace": ("apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n", "not a name for a Namespace"),
    "name of a Service": (SERVICE.replace("name: web", "name: 1web"), "Service 1web: not a name for a Service"),
    "name of a role": (ROLE.replace("web:Reader", "web/reader"), "not a name for a ClusterRole"),
    "name of a definition": (
        FINE["CustomResourceDefinition"].replace("name: pools", "name: pool"),
        "not a name for a Cus",
    ),
    "namespace": (f"{CONFIG_MAP}  namespace: a.b\n", "ConfigMap one: not a namespace"),
    "label key": (f"{CONFIG_MAP}  labels: {{-a: b}}\n", "ConfigMap one: wrong key of label -a"),
    "label value": (f"{CONFIG_MAP}  labels: {{a: b c}}\n", "ConfigMap one: wrong value of label a"),
    "long label": (f"{CONFIG_MAP}  labels: {{a: {'b' * 64}}}\n", "ConfigMap one: wrong value of label a"),
    "label of a number": (f"{CONFIG_MAP}  labels: {{a: 1}}\n", "ConfigMap one: label a is not text"),
    "label of a boolean": (f"{CONFIG_MAP}  labels: {{a: true}}\n", "ConfigMap one: label a is not text"),
    "annotation of a number": (f"{CONFIG_MAP}  annotations: {{a: 1}}\n", "ConfigMap one: annotation a is not text"),
    "annotation key": (f"{CONFIG_MAP}  annotations: {{a b: c}}\n", "ConfigMap one: wrong key of annotation a b"),
    "labels in a list": (f"{CONFIG_MAP}  labels: [a]\n", "ConfigMap one: wrong value of metadata.labels"),
    "label of a template": (
        DEPLOYMENT.replace("        app: web\n    spec", "        app: web\n        a: 1\n    spec"),
        "label a",
    ),
    "selector": (DEPLOYMENT.replace("matchLabels:\n      app: web", "matchLabels:\n      app: wep"), "does not match"),
    "containerPort": (DEPLOYMENT.replace("8080", "99999"), "Deployment web: containerPort is not a port"),
    "containerPort as text": (DEPLOYMENT.replace("8080", "'8080'"), "Deployment web: containerPort is not a port"),
    "containerPort 0": (DEPLOYMENT.replace("8080", "0"), "Deployment web: containerPort is not a port"),
    "hostPort": (DEPLOYMENT.replace("hostPort: 80", "hostPort: 65536"), "Deployment web: hostPort is not a port"),
    "name of a port": (DEPLOYMENT.replace("- name: http", "- name: HTTP"), "Deployment web: not a name for a port"),
    "probe": (DEPLOYMENT.replace("port: http", "port: 70000"), "Deployment web: port is not a port"),
    "env without name": (DEPLOYMENT.replace("name: LEVEL", "nam: LEVEL"), "an environment variable without a name"),
    "env of a number": (DEPLOYMENT.replace('"3"', "3"), "the value of environment variable LEVEL is not text"),
    "no containers": (DEPLOYMENT.partition("      containers:")[0], "Deployment web: no containers"),
    "containers in a map": (
        DEPLOYMENT.partition("      containers:")[0] + "      containers: {a: b}\n",
        "not a list of maps",
    ),
    "no template": (DEPLOYMENT.partition("  template:")[0], "Deployment web: no spec.template.spec"),
    "volume that is not there": (
        DEPLOYMENT.replace("- name: data\n              m", "- name: date\n              m"),
        "no volume",
    ),
    "two volumes": (DEPLOYMENT.replace("volumes:", "volumes:\n        - name: data"), "two volumes of one name"),
    "two containers": (
        DEPLOYMENT + "        - name: web\n          image: web\n",
        "Deployment web: two containers of one name",
    ),
    "two kinds of containers": (
        DEPLOYMENT + "      initContainers:\n        - name: web\n          image: web\n",
        "Deployment web: two containers of one name",
    ),
    "name of a container": (
        DEPLOYMENT.replace("- name: web", "- name: Web"),
        "Deployment web: not a name for a container",
    ),
    "port of a Service": (SERVICE.replace("port: 80\n", "port: 99999\n"), "Service web: port is not a port"),
    "targetPort": (SERVICE.replace("targetPort: http", "targetPort: 99999"), "Service web: targetPort is not a port"),
    "nodePort": (SERVICE.replace("30080", "99999"), "Service web: nodePort is not a port"),
    "not a port": (SERVICE.replace("port: 53", "prt: 53"), "Service web: port is not a port"),
    "port without a name": (
        SERVICE.replace("    - name: dns\n      port", "    - port"),
        "a port without a name beside others",
    ),
    "one port twice": (SERVICE.replace("name: dns", "name: http"), "Service web: the same port twice"),
    "name of a CronJob": (
        CRON_JOB.replace("name: job", f"name: {'a' * 53}"),
        "not a name for a CronJob",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_the_server_refuses(text: str, message: str) -> None:
    (problem,) = problems(text)
    assert message in problem.message


TWICE = {
    "the same text": (CONFIG_MAP, CONFIG_MAP),
    "other content": (CONFIG_MAP, CONFIG_MAP + "data: {a: b}\n"),
    "another version of the group": (
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n",
        "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: a}\n",
    ),
    "a namespace that means nothing": (ROLE, ROLE + "  namespace: a\n"),
    "within a list": (CONFIG_MAP, f"kind: List\nitems:\n- {ONE_LINE}\n"),
}


@pytest.mark.parametrize(("first", "second"), TWICE.values(), ids=TWICE)
def test_the_same_object_twice(first: str, second: str) -> None:
    (problem,) = problems(f"{first}---\n{second}")
    assert problem.message.endswith(": the same object twice")


def test_problems_have_their_line_and_twins_both(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/a.yaml").write_text(f"# first\n---\n{SERVICE}---\n{DEPLOYMENT.replace('8080', '99999')}")
    (tmp_path / "base/b.yaml").write_text(f"{CONFIG_MAP}---\n{CONFIG_MAP}")
    text = "".join(f"---\n{path.read_text()}" for path in sorted((tmp_path / "base").iterdir()))
    found = problems(text, tmp_path)
    assert [(p.message, str(p.location)) for p in found] == [
        ("Deployment web: containerPort is not a port", f"{tmp_path}/base/a.yaml:40"),
        ("ConfigMap one: the same object twice", f"{tmp_path}/base/b.yaml:9"),
    ]
    assert found[0].found == "99999"
    assert found[0].expected == "a number from 1 to 65535"
    assert found[1].found == f"the other one in {tmp_path}/base/b.yaml:4"


def labelled(value: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"b": value}}}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("é", '"é"'),
        (1, "1"),
        (True, "true"),
        ([1, None], "[1, null]"),
        (b"x", "\"b'x'\""),
        ("x y" + "z" * 115, '"x y' + "z" * 115 + '"'),
        ("x y" + "z" * 116, '"x y' + "z" * 116 + "…"),
    ],
)
def test_what_was_found_is_shown_as_json_and_not_beyond_120_characters(value: Any, found: str) -> None:
    (problem,) = document_problems([labelled(value)], Path("/nowhere"))
    assert problem.found == found


def test_what_is_missing_was_not_found() -> None:
    (problem,) = document_problems([labelled("x") | {"metadata": {}}], Path("/nowhere"))
    assert (problem.message, problem.found, problem.expected, problem.hint) == (
        *("ConfigMap: no metadata.name", None, "text", None),
    )


def test_a_hint_says_what_to_do() -> None:
    (problem,) = document_problems([labelled(1)], Path("/nowhere"))
    assert problem.lines() == [
        "/nowhere: ConfigMap a: label b is not text",
        "    found: 1",
        "    expected: text",
        "    hint: put it in quotes",
    ]
    (problem,) = document_problems([labelled("x"), labelled("y")], Path("/nowhere"))
    assert problem.lines() == [
        "/nowhere: ConfigMap a: the same object twice",
        "    found: the other one in /nowhere",
        "    hint: remove one of them",
    ]


def test_an_object_three_times_is_told_twice_and_a_wrong_one_is_no_twin() -> None:
    fine, wrong = labelled("x"), labelled(1)
    assert [p.message for p in document_problems([fine, fine, fine], Path("/nowhere"))] == [
        "ConfigMap a: the same object twice"
    ] * 2
    assert [p.message for p in document_problems([fine, wrong, {}, [fine]], Path("/nowhere"))] == [
        "ConfigMap a: label b is not text",
        "a document: a list instead of an object",
    ]
    kapp = {"apiVersion": "kapp.k14s.io/v1alpha1", "kind": "Config", "metadata": {"name": "a", "labels": {"b": 1}}}
    assert document_problems([kapp, kapp, fine], Path("/nowhere")) == []
    assert len(document_problems([kapp, fine, fine], Path("/nowhere"))) == 1


def test_ports_of_every_kind_are_looked_at() -> None:
    spec = {"defaultBackend": {"service": {"name": "a", "port": {"number": 70000}}}}
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": spec}
    (problem,) = document_problems([ingress], Path("/nowhere"))
    assert problem.message == "Ingress a: number is not a port"


def rendered_problems(project: PackageProject, toolset: Toolchain) -> list[Problem]:
    return manifests(open_session(project.root, project.environment, StreamReporter(io.StringIO())), toolset)


def test_what_a_project_renders_is_looked_at(hello: PackageProject, toolset: Toolchain) -> None:
    assert rendered_problems(hello, toolset) == []
    base = "bundle/config/base/deployment.yaml"
    hello.replace(base, "image: hello", "image: helo")
    hello.replace(base, "namespace: default", "namespace: a.b")
    found = rendered_problems(hello, toolset)
    assert errors_among(found)[:1] == found[:1]
    messages = [(problem.message, str(problem.location)) for problem in found]
    assert messages[0] == ("Deployment hello: not a namespace", f"{hello.root / base}:5")
    assert len(messages) == 3
    assert "helo" in f"{rendered_problems(hello, toolset)[1:]}"


def test_what_ytt_refuses_is_a_problem_of_the_bundle(hello: PackageProject, toolset: Toolchain) -> None:
    (hello.root / "bundle/config/base/extra.yaml").write_text("#@ fail()\na: 1\n")
    (problem,) = rendered_problems(hello, toolset)
    assert problem.message == "step render: ytt refused the templates or the data values"
    assert problem.location
    assert str(problem.location).startswith(str(hello.root / "bundle/config"))


def no_namespace(project: PackageProject) -> list[str]:
    return [
        f"{project.root}/bundle/config/base/deployment.yaml:5: Deployment hello: not a namespace",
        '    found: "a.b"',
        "    expected: lower-case letters, digits and -, 63 characters at most (a DNS label)",
    ]


def test_what_is_wrong_in_the_template_of_the_package_hides_nothing(hello: PackageProject, toolset: Toolchain) -> None:
    hello.replace("package/package.yaml.j2", "{{ upstream }}", "{{ nothing }}")
    hello.replace("bundle/config/base/deployment.yaml", "namespace: default", "namespace: a.b")
    (problem,) = rendered_problems(hello, toolset)
    assert problem.severity is Severity.ERROR
    assert problem.lines() == no_namespace(hello)


def test_what_is_wrong_only_without_values_that_users_have_to_give_is_a_warning(
    hello: PackageProject, toolset: Toolchain
) -> None:
    hello.replace("values-schema.yaml", "greeting: hello", 'greeting: ""')
    hello.replace("bundle/config/base/deployment.yaml", "namespace: default", "namespace: a.b")
    (problem,) = rendered_problems(hello, toolset)
    assert problem.severity is Severity.WARNING
    assert problem.lines() == no_namespace(hello)


DEEP = f"""\
#@ def deep():
#@   value = "end"
#@   for _ in range(100):
#@     value = {{"a": value}}
#@   end
#@   return value
#@ end
{CONFIG_MAP}data: #@ deep()
"""


def test_what_ytt_writes_beyond_the_bounds_is_a_problem_of_the_bundle(
    hello: PackageProject, toolset: Toolchain
) -> None:
    (hello.root / "bundle/config/base/deep.yaml").write_text(DEEP)
    (problem,) = rendered_problems(hello, toolset)
    assert problem.lines() == [
        f"{hello.root}/bundle/config:104:199: nested too deeply",
        "    expected: at most 100 levels",
    ]


def test_every_problem_comes_at_once() -> None:
    text = (
        DEPLOYMENT.replace("8080", "0").replace("name: web\n          image", "name: W\n          image") + "---\n- a\n"
    )
    assert len(problems(text)) == 3


FIELDS = [
    "spec",
    "template",
    "metadata",
    "name",
    "labels",
    "containers",
    "ports",
    "env",
    "selector",
    "matchLabels",
    "volumes",
    "volumeMounts",
    "items",
]
FIELDS += ["generateName", "livenessProbe", "httpGet", "port", "jobTemplate", "names", "plural"]
scalars = st.none() | st.booleans() | st.integers(-1, 99999) | st.text(max_size=3)
json = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=20,
)


@given(json, st.sampled_from(["Deployment", "Pod", "Service", "CronJob", "CustomResourceDefinition", "StatefulSet", 1]))
def test_no_document_is_too_odd(value: Any, kind: Any) -> None:
    groups = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "CronJob": "batch/v1"}
    shell = {"apiVersion": groups.get(kind, "v1"), "kind": kind, "metadata": {"name": "a"}}
    for document in (
        value,
        shell | {"spec": value},
        shell | {"metadata": value},
        shell | (value if isinstance(value, dict) else {}),
    ):
        document_problems([document, document], Path("/nowhere"))


@pytest.mark.parametrize("word", ["y", "n", "yes", "No", "on", "OFF", "true"])
def test_a_word_that_is_a_boolean_to_ytt_is_found_in_its_line_with_the_remedy(tmp_path: Path, word: str) -> None:
    text = DEPLOYMENT.replace("app: web\nspec:", f"app: {word}\n  namespace: {word}\nspec:")
    (tmp_path / "a.yaml").write_text(text)
    value = word.lower() in ("y", "yes", "on", "true")
    (document,) = yamldoc.load_all_text(text, tmp_path)
    document["metadata"]["namespace"] = document["metadata"]["labels"]["app"] = value
    # As long as the namespace is no text, nothing else is looked at.
    (problem,) = document_problems([document], tmp_path)
    assert str(problem.location) == f"{tmp_path}/a.yaml:7"
    del document["metadata"]["namespace"]
    (label,) = document_problems([document], tmp_path)
    assert str(label.location) == f"{tmp_path}/a.yaml:6"
    for found in (problem, label):
        assert found.found == str(value).lower()
        assert found.hint
        assert found.hint.startswith("put it in quotes: without them, y, yes, on, n, no and off are booleans")
