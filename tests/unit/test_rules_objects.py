"""Identity, names, labels and content of any object: each finding with its place, what was found, what is expected."""

from __future__ import annotations

from typing import Any

import pytest

from carvelwright import names
from carvelwright.rules import objects
from carvelwright.rules.contents import content_findings
from carvelwright.rules.objects import Finding

RBAC = "rbac.authorization.k8s.io/v1"
QUOTE = "put it in quotes"
QUOTE_WORD = "put it in quotes: without them, y, yes, on, n, no and off are booleans"


def text_expected(value: Any) -> tuple[str, str]:
    return "text", QUOTE_WORD if isinstance(value, bool) else QUOTE


def thing(kind: str = "ConfigMap", group: str = "v1", /, **more: Any) -> dict[str, Any]:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "one"}, **more}


def named(name: str, kind: str = "ConfigMap", group: str = "v1", /, **more: Any) -> dict[str, Any]:
    return thing(kind, group, **more) | {"metadata": {"name": name}}


def labelled(**metadata: Any) -> list[Finding]:
    return list(objects.metadata_findings(thing() | {"metadata": {"name": "one", **metadata}}))


# What a document is


@pytest.mark.parametrize(
    ("document", "kind"), [([1], "a list"), ("x", "a scalar"), (1, "a scalar"), (True, "a scalar")]
)
def test_what_is_no_object(document: Any, kind: str) -> None:
    expected = "a map with apiVersion, kind and metadata.name"
    assert list(objects.shape_findings(document)) == [Finding((), f"{kind} instead of an object", document, expected)]


API = "GROUP/VERSION or VERSION"


@pytest.mark.parametrize(
    ("change", "place", "word", "expected"),
    [
        ({"apiVersion": None}, "apiVersion", "no", API),
        ({"apiVersion": ""}, "apiVersion", "no", API),
        ({"apiVersion": 1}, "apiVersion", "wrong value of", API),
        ({"apiVersion": "a/b/c"}, "apiVersion", "wrong value of", API),
        ({"kind": None}, "kind", "no", "text"),
        ({"kind": ["a"]}, "kind", "wrong value of", "text"),
        ({"kind": "a/b"}, "kind", "wrong value of", "text"),
        ({"metadata": None}, "metadata", "no", "a map with name"),
        ({"metadata": []}, "metadata", "wrong value of", "a map with name"),
        ({"metadata": {}}, "metadata.name", "no", "text"),
        ({"metadata": {"name": ""}}, "metadata.name", "no", "text"),
        ({"metadata": {"name": 0}}, "metadata.name", "wrong value of", "text"),
        ({"metadata": {"name": 1, "generateName": "a"}}, "metadata.name", "wrong value of", "text"),
        ({"metadata": {"generateName": ""}}, "metadata.name", "no", "text"),
        ({"metadata": {"generateName": 1}}, "metadata.generateName", "wrong value of", "text"),
        ({"metadata": {"name": "a", "namespace": 1}}, "metadata.namespace", "wrong value of", "text"),
    ],
)
def test_shapes(change: dict[str, Any], place: str, word: str, expected: str) -> None:
    document = thing() | change
    at = tuple(place.split("."))
    found = objects.walk(document, at)
    assert list(objects.shape_findings(document)) == [
        Finding(at, f"{word} {place}", found, expected, QUOTE if isinstance(found, int) else None)
    ]


@pytest.mark.parametrize(
    "metadata",
    [{"name": "a"}, {"generateName": "a-"}, {"name": "a", "generateName": 1}, {"name": "a", "namespace": ""}],
)
@pytest.mark.parametrize("group", ["v1", "a/v1"])
def test_shapes_that_are_fine(metadata: dict[str, Any], group: str) -> None:
    assert list(objects.shape_findings({"apiVersion": group, "kind": "A", "metadata": metadata})) == []


def test_everything_that_is_missing_is_named_at_once() -> None:
    assert [finding.at for finding in objects.shape_findings({})] == [("apiVersion",), ("kind",), ("metadata",)]


def test_the_documents_that_kapp_sees() -> None:
    inner = {"kind": "List", "items": [{"a": 1}, None, {}]}
    assert list(objects.flat([None, {}, "x", 0, [], inner, {"items": "x"}])) == ["x", 0, [], {"a": 1}, {"items": "x"}]


@pytest.mark.parametrize(
    ("document", "title"),
    [
        ("x", "a document"),
        ({}, "object"),
        ({"kind": "A"}, "A"),
        ({"kind": "A", "metadata": {"name": "b", "generateName": "c"}}, "A b"),
        ({"kind": "A", "metadata": {"generateName": "b-"}}, "A b-"),
        ({"kind": "A", "metadata": "b"}, "A"),
        ({"metadata": {"name": "b"}}, "object b"),
    ],
)
def test_titles(document: Any, title: str) -> None:
    assert objects.title(document) == title


def test_documents_for_kapp_and_kbld() -> None:
    assert objects.is_configuration({"apiVersion": "kapp.k14s.io/v1alpha1", "kind": "Config"})
    assert objects.is_configuration({"apiVersion": "kbld.k14s.io/v1alpha1", "kind": "Config"})
    assert not objects.is_configuration({"apiVersion": "kapp.k14s.io/v1"})
    assert not objects.is_configuration("kapp.k14s.io/v1alpha1")


# Which object it is

CLUSTER_WIDE = {
    ("Namespace", "v1"),
    ("PersistentVolume", "v1"),
    ("ClusterRole", RBAC),
    ("ClusterRoleBinding", RBAC),
    ("CustomResourceDefinition", "apiextensions.k8s.io/v1"),
    ("IngressClass", "networking.k8s.io/v1"),
    ("MutatingWebhookConfiguration", "admissionregistration.k8s.io/v1"),
    ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io/v1"),
    ("PriorityClass", "scheduling.k8s.io/v1"),
    ("StorageClass", "storage.k8s.io/v1"),
    ("APIService", "apiregistration.k8s.io/v1"),
}


@pytest.mark.parametrize(("kind", "group"), sorted(CLUSTER_WIDE))
def test_a_namespace_means_nothing_to_what_is_of_the_whole_cluster(kind: str, group: str) -> None:
    document = thing(kind, group) | {"metadata": {"name": "a", "namespace": "b"}}
    assert objects.identity(document) == (group.rpartition("/")[0], kind, "", "a")


@pytest.mark.parametrize(
    ("kind", "group"),
    [
        *((kind, "v1") for kind in ("ConfigMap", "Endpoints", "LimitRange", "PersistentVolumeClaim", "Pod")),
        *((kind, "v1") for kind in ("PodTemplate", "ReplicationController", "ResourceQuota", "Secret", "Service")),
        *((kind, "apps/v1") for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")),
        *((kind, "batch/v1") for kind in ("CronJob", "Job")),
        *((kind, "networking.k8s.io/v1") for kind in ("Ingress", "NetworkPolicy")),
        *((kind, RBAC) for kind in ("Role", "RoleBinding")),
        ("ServiceAccount", "v1"),
        ("EndpointSlice", "discovery.k8s.io/v1"),
        ("HorizontalPodAutoscaler", "autoscaling/v2"),
        ("PodDisruptionBudget", "policy/v1"),
    ],
)
def test_a_namespace_belongs_to_the_identity_of_the_others(kind: str, group: str) -> None:
    document = thing(kind, group) | {"metadata": {"name": "a", "namespace": "b"}}
    assert objects.kind_of(document) == kind
    assert objects.identity(document) == (group.rpartition("/")[0], kind, "b", "a")
    assert objects.identity(thing(kind, group)) == (group.rpartition("/")[0], kind, "", "one")


def test_generated_names_are_no_names() -> None:
    document = thing() | {"metadata": {"generateName": "a-", "namespace": None}}
    assert objects.identity(document) == ("", "ConfigMap", "", "a-*")


def test_kinds_of_other_groups_are_not_known() -> None:
    assert objects.kind_of(thing("Deployment")) is None
    assert objects.kind_of(thing("Role", "example.com/v1")) is None


# Names

LONG = "a" * 63


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (named("A"), names.DNS_SUBDOMAIN),
        (named("a" * 254), names.DNS_SUBDOMAIN),
        (named("a.b", "Namespace"), names.DNS_LABEL),
        (named(LONG + "a", "Namespace"), names.DNS_LABEL),
        (named("1a", "Service"), f"{names.DNS_LABEL} that begins with a letter"),
        (named(LONG + "a", "Service"), f"{names.DNS_LABEL} that begins with a letter"),
        (named("a.b", "Service"), f"{names.DNS_LABEL} that begins with a letter"),
        *((named("a/b", kind, RBAC), "no / and no %") for kind in ("Role", "RoleBinding", "ClusterRole")),
        (named("a%", "ClusterRoleBinding", RBAC), "no / and no %"),
        (named("..", "Role", RBAC), "no / and no %"),
        (named("a" * 53, "CronJob", "batch/v1"), f"{names.DNS_SUBDOMAIN}, of a CronJob 52"),
        (named("A", "CronJob", "batch/v1"), f"{names.DNS_SUBDOMAIN}, of a CronJob 52"),
        (
            named(
                "a.example.com",
                "CustomResourceDefinition",
                "apiextensions.k8s.io/v1",
                spec={"group": "example.com", "names": {"plural": "bs"}},
            ),
            "spec.names.plural and spec.group: bs.example.com",
        ),
    ],
)
def test_names_that_the_server_refuses(document: dict[str, Any], expected: str) -> None:
    name, kind = document["metadata"]["name"], document["kind"]
    assert list(objects.metadata_findings(document)) == [
        Finding(("metadata", "name"), f"not a name for a {kind}", name, expected)
    ]


@pytest.mark.parametrize(
    "document",
    [
        named("a" * 253),
        named("1.b"),
        named(LONG, "Namespace"),
        named("1", "Namespace"),
        named(LONG, "Service"),
        named("a" * 52, "CronJob", "batch/v1"),
        named("System:Node", "ClusterRole", RBAC),
        named("A/%", "Deployment", "example.com/v1"),
        *(
            named("a", "CustomResourceDefinition", "apiextensions.k8s.io/v1", spec=spec)
            for spec in (None, {"group": "b"}, {"names": {"plural": "b"}}, {"group": "b", "names": []})
        ),
        named(
            "bs.example.com",
            "CustomResourceDefinition",
            "apiextensions.k8s.io/v1",
            spec={"group": "example.com", "names": {"plural": "bs"}},
        ),
        thing() | {"metadata": {"generateName": "A"}},
    ],
)
def test_names_that_the_server_takes(document: dict[str, Any]) -> None:
    assert list(objects.metadata_findings(document)) == []


def test_namespaces() -> None:
    for namespace in ("A", "a.b", LONG + "a"):
        assert labelled(namespace=namespace) == [
            Finding(("metadata", "namespace"), "not a namespace", namespace, names.DNS_LABEL)
        ]
    assert [labelled(namespace=namespace) for namespace in ("", None, LONG)] == [[], [], []]


# Labels and annotations


@pytest.mark.parametrize(("field", "word"), [("labels", "label"), ("annotations", "annotation")])
def test_keys_of_labels_and_annotations(field: str, word: str) -> None:
    wrong: list[Any] = ["-a", "a b", "a/b/c", "/a", "a/", "", LONG + "a", "a_b/c", 1, None]
    for key in wrong:
        assert labelled(**{field: {key: "x"}}) == [
            Finding(
                ("metadata", field, key),
                f"wrong key of {word} {key}",
                key,
                "NAME or PREFIX/NAME",
                QUOTE if key == 1 else None,
            )
        ]
    keys = ("a", "A.b_c-D", f"{'a.' * 126}a/{LONG}", "example.com/a")
    assert labelled(**{field: dict.fromkeys(keys, "x")}) == []


def test_prefixes_of_annotations_may_be_written_in_capitals() -> None:
    assert labelled(annotations={"Example.com/A": "x"}) == []
    assert [finding.found for finding in labelled(labels={"Example.com/A": "x"})] == ["Example.com/A"]


@pytest.mark.parametrize(("field", "word"), [("labels", "label"), ("annotations", "annotation")])
def test_values_of_labels_and_annotations_are_text(field: str, word: str) -> None:
    not_text: list[Any] = [1, 0, True, False, [], {}, 1.5]
    for value in not_text:
        assert labelled(**{field: {"a": value}}) == [
            Finding(("metadata", field, "a"), f"{word} a is not text", value, *text_expected(value))
        ]
    assert labelled(**{field: {"a": "", "b": None, "c": LONG}}) == []
    no_maps: list[Any] = ["x", ["x"], 0, False]
    for value in no_maps:
        assert labelled(**{field: value}) == [
            Finding(("metadata", field), f"wrong value of metadata.{field}", value, "a map of text")
        ]
    assert labelled(**{field: ""}) == [Finding(("metadata", field), f"no metadata.{field}", "", "a map of text")]


def test_values_of_labels_have_a_syntax_and_those_of_annotations_none() -> None:
    expected = "63 characters at most: letters, digits, - _ . between letters or digits"
    for value in ("a b", "-a", "a-", LONG + "a", "a/b"):
        assert labelled(labels={"k": value}) == [
            Finding(("metadata", "labels", "k"), "wrong value of label k", value, expected)
        ]
        assert labelled(annotations={"k": value}) == []


def test_every_wrong_pair_is_named() -> None:
    found = labelled(labels={"-a": 1, "b": "-"}, annotations=[1], namespace="A")
    assert [finding.at[1:] for finding in found] == [
        ("namespace",),
        ("labels", "-a"),
        ("labels", "-a"),
        ("labels", "b"),
        ("annotations",),
    ]
    assert labelled(labels=[1], annotations={"a": 1})[1].at == ("metadata", "annotations", "a")
    assert list(objects.label_findings([1], ("metadata",))) == []


# ConfigMaps and Secrets

TEXT_FIELDS = [("ConfigMap", "data"), ("Secret", "stringData")]
BASE64_FIELDS = [("ConfigMap", "binaryData", "data"), ("Secret", "data", "stringData")]


@pytest.mark.parametrize(("kind", "field"), [*TEXT_FIELDS, *((kind, field) for kind, field, _ in BASE64_FIELDS)])
def test_keys_and_shape_of_content(kind: str, field: str) -> None:
    no_maps: list[Any] = [["a"], "a", 1, False]
    for value in no_maps:
        assert list(content_findings(thing(kind, **{field: value}))) == [
            Finding((field,), f"{field} is no map", value, "a map of text")
        ]
    wrong: list[Any] = ["a/b", "..a", ".", "", "a" * 254, 1]
    for key in wrong:
        assert list(content_findings(thing(kind, **{field: {key: "MQ=="}}))) == [
            Finding((field, key), f"wrong key of {field}", key, names.CONFIG_KEY, QUOTE if key == 1 else None)
        ]
    not_text: list[Any] = [1, True, [], {}]
    for value in not_text:
        assert list(content_findings(thing(kind, **{field: {"a": value}}))) == [
            Finding((field, "a"), f"the value of {field} a is not text", value, *text_expected(value))
        ]
    fine: Any = {"a" * 253: "MQ==", ".a": "", "A_b-c": None}
    assert list(content_findings(thing(kind, **{field: fine}))) == []
    assert list(content_findings(thing(kind, **{field: None}))) == []


@pytest.mark.parametrize(("kind", "field", "plain"), BASE64_FIELDS)
def test_base64(kind: str, field: str, plain: str) -> None:
    for value in ("pass word", "MQ", "é", "MQ==="):
        assert list(content_findings(thing(kind, **{field: {"a": value}}))) == [
            Finding(
                (field, "a"),
                f"the value of {field} a is not base64",
                value,
                "base64",
                f"write plain text below {plain}",
            )
        ]
    assert list(content_findings(thing(kind, **{field: {"a": "M\r\nQ\n=\r="}}))) == []
    assert list(content_findings(thing(kind, **{field: {"a": "MQ==\n", "b": "MQ==\r"}}))) == []
    assert list(content_findings(thing(kind, **{plain: {"a": "pass word"}}))) == []


def test_a_key_belongs_to_one_field_of_a_config_map() -> None:
    document = thing(data={"a": "x", "b": "x"}, binaryData={"a": "MQ==", "c": "MQ=="})
    assert list(content_findings(document)) == [
        Finding(("binaryData", "a"), "key a is in data and in binaryData", None, "each key once")
    ]
    assert list(content_findings(thing("Secret", data={"a": "MQ=="}, stringData={"a": "x"}))) == []
    assert list(content_findings(thing("Secret", data={"a": "MQ=="}, binaryData={"a": "x"}))) == []
    (finding,) = content_findings(thing(data=["a"], binaryData={"a": "MQ=="}))
    assert finding.at == ("data",)


def test_every_wrong_field_is_named() -> None:
    found = content_findings(thing(data=[1], binaryData={"a": 1, "b": "!"}))
    assert [finding.at for finding in found] == [("data",), ("binaryData", "a"), ("binaryData", "b")]


def test_content_of_other_kinds_is_not_looked_at() -> None:
    assert list(content_findings(thing("Secret", "example.com/v1", data=[1]))) == []
    assert list(content_findings(thing("Pod", data=[1]))) == []
