"""values-schema.yaml: what is accepted and refused, and that the clients' own files are accepted."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from carvelwright import values, valuesdoc
from carvelwright.client import Client, default_values_file
from carvelwright.steps.render import export_schema
from tests.helpers.package import MULTUS, ROOT, RefusedError, StagedPackage, write_values
from tests.helpers.package import multus as multus  # noqa: PLC0414  # a fixture
from tests.helpers.package import package as package  # noqa: PLC0414  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema

LIBRARY = ROOT / "src/carvelwright/library"
# The packages: the fixture that stages each, its directory, and those of its values files.
PACKAGES = {
    "package": (ROOT, ROOT / "tests/golden/render", ROOT / "examples/whereabouts/values"),
    "multus": (MULTUS, ROOT / "tests/golden/multus-cni", ROOT / "examples/multus-cni/values"),
}
EXAMPLES = ROOT / "examples/whereabouts/values"

# Asked of robfig/cron v3.0.1 (ParseStandard, then Next), which the reconciler uses, and accepted.
GOOD_SCHEDULES = (
    "*/5 * * * *",
    "30 4 * * *",
    "  0   4 *  * * ",
    "0,30 8-18/2 1,15 JAN,jul-SEP Mon-Fri",
    "5/15 ? ? * ?",
    "0 0 29 2 *",  # comes every fourth year
    "0 0 31 2,3 *",
    "0 0 30 2 MON",  # either the day or the weekday
    "0 0 30 2 */2",
    "08 09 * * 0-6/3",
    "*/90 * * * *",
    "@hourly",
    "@daily",
    "@every 10s",
    "@every 1h30m",
    "@every 1.5h",
    "@every 8760h",
)
# Refused or never due there: the reconciler ends with exit code 3, or panics when it is changed to one.
BAD_SCHEDULES = (
    "",
    "*",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 0 *",
    "* * * 13 *",
    "* * * * 7",
    "* * * * -1",
    "5-1 * * * *",
    "* * * * FRI-MON",
    "1-2-3 * * * *",
    "*/0 * * * *",
    "*/ * * * *",
    "*/-5 * * * *",
    "1/2/3 * * * *",
    "MON * * * *",
    "* * * * MONDAY",
    "* * * MON *",
    "a b c d e",
    "99999999999999999999 * * * *",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "0 0 31 9/2 ?",
    "@every",
    "@every 5",
    "@every -5m",
    "@every 1d",
    "@every  5m",
    "@Hourly",
    "@reboot",
    "every 5 minutes please now",
)
# Taken there, but a mistake, or of no use to a reconciler.
STRICTER_SCHEDULES = (
    "1,,2 * * * *",  # empty elements are passed over
    "*-5 * * * *",  # the 5 is passed over
    "+5 * * * *",
    "@every 1s",
    "@every 10000h",
    "@every 500ms",
    "@weekly",
    "@monthly",
    "TZ=Europe/Berlin 0 4 * * *",
    "CRON_TZ=UTC */5 * * * *",
)


def refused_items(directory: Path, ytt: Path, file: str, rule: str, items: Sequence[str]) -> list[str]:
    """Ask a rule of the library for many values in one run of ytt; returns those it refuses."""
    schema = directory / "config/schema.yaml"
    shutil.copytree(LIBRARY, schema.parent / "carvelwright")
    schema.write_text(
        f'#@ load("/carvelwright/{file}", "{rule.partition("(")[0]}")\n#@data/values-schema\n---\n'
        f'#@schema/default []\nitems:\n#@schema/validation {rule}\n- ""\n'
    )
    with pytest.raises(RefusedError, match="Validating final data values") as refusal:
        StagedPackage(schema.parent, ytt).text(write_values(directory, {"items": list(items)}))
    return [items[int(index)] for index in re.findall(r"^  items\[(\d+)\]$", str(refusal.value), re.MULTILINE)]


@pytest.mark.parametrize(
    ("file", "rule", "good", "bad"),
    [
        ("schedule.star", "schedule", GOOD_SCHEDULES, BAD_SCHEDULES + STRICTER_SCHEDULES),
        (
            "rules.star",
            "directory",
            ("/opt/cni/bin", "/a", "/var/lib/rancher/k3s/data/cni", "/a.b/..c/d..", "/@x/+y/_z-1"),
            ("", "/", "//", "a", "./a", "/a/", "/a/.", "/./a", "/..", "/a/../b", "/a//b", "/a b", "/a\nb", '/a"', "/ä")
        ),
        ("rules.star", 'file_or_none("/a")', ("", "/var/log/x.log"), ("x.log", "/", "/var/log/")),
        (
            "quantities.star",
            "cpu",
            ("", "1", "100m", "0.5", "1.25", "64", "08", "010m"),
            ("0", "0m", "0.0", "-1", "1 ", "100Mi", "1e3", ".5", "1.", "0.0005", "m", "100M"),
        ),
        (
            "quantities.star",
            "memory",
            ("", "10Mi", "100Mi", "1Gi", "1.5Gi", "128974848", "129M", "20000k", "10240Ki"),
            ("0", "100", "9Mi", "100m", "1e9", "100MiB", "100 Mi", "Mi", "-1Gi", "1Ti", "1.Gi"),
        ),
        ("rules.star", "port", ("1", "443", "65535"), ("", "0", "65536", "0443", "-1", "https", "99999")),
        (
            "rules.star",
            "cidr",
            ("0.0.0.0/0", "10.96.0.1/32", "::/0", "fd00::/64", "1:2:3:4:5:6:7:8/128", "::ffff/128"),
            ("", "10.0.0.0", "10.0.0/8", "10.0.0.256/8", "10.0.0.0/33", "010.0.0.0/8", "10.0.0.0/8/8", "fd00::/129",
             "1:2::3::4/64", "fd00:/64", ":::/0", "1:2:3:4:5:6:7:8:9/64", "g::/64"),
        ),
        (
            "rules.star",
            'object_name_or_none("PriorityClass")',
            ("", "system-node-critical", "a.b"),
            ("A", "a_b", "-a", "a-", "a b"),
        ),
    ],
)  # fmt: skip
def test_rule(file: str, rule: str, good: Sequence[str], bad: Sequence[str], tmp_path: Path, ytt: Path) -> None:
    assert refused_items(tmp_path, ytt, file, rule, [*good, *bad]) == list(bad)


def values_files(name: str) -> list[Path]:
    return sorted(path.parent / "values.yaml" for _, cases, _ in PACKAGES.values() for path in cases.glob(f"*/{name}"))


def owner(path: Path) -> str:
    """Return the package that a values file is for."""
    return next(name for name, (_, *homes) in PACKAGES.items() if any(home in path.parents for home in homes))


@pytest.fixture(scope="module", params=PACKAGES)
def member(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def staged(member: str, request: pytest.FixtureRequest) -> StagedPackage:
    """One package after the other."""
    found: StagedPackage = request.getfixturevalue(member)
    return found


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


@pytest.fixture(scope="module")
def exported(toolset: Toolchain) -> dict[str, ValuesSchema]:
    return {name: export_schema(root, ROOT, toolset) for name, (root, *_) in PACKAGES.items()}


@pytest.fixture(scope="module")
def editors_schemas(exported: dict[str, ValuesSchema]) -> dict[str, Draft202012Validator]:
    documents = {name: json.loads(values.json_schema(schema, "test")) for name, schema in exported.items()}
    for document in documents.values():
        Draft202012Validator.check_schema(document)
    return {name: Draft202012Validator(document) for name, document in documents.items()}


@pytest.mark.parametrize(
    "path",
    [*values_files("expected.yaml"), *(path for *_, examples in PACKAGES.values() for path in examples.iterdir())],
    ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}/{path.name}",
)
def test_editors_accept_what_ytt_accepts(path: Path, editors_schemas: dict[str, Draft202012Validator]) -> None:
    assert not list(editors_schemas[owner(path)].iter_errors(load(path)))


# What compares several options, or counts, is beyond JSON Schema.
BEYOND_JSON_SCHEMA = {
    "affinity", "annotation-kapp", "annotation-own", "label-own", "lease-below-renew", "limit-below-request", "port",
    "quantity-memory-tiny", "quantity-zero", "renew-below-retry", "rollout-both", "rollout-neither",
    "schedule-backwards", "schedule-every-too-short", "schedule-no-such-day", "schedule-out-of-range",
    "schedule-step-zero", "schedule-weekday-seven", "schedule-words",
}  # fmt: skip


@pytest.mark.parametrize(
    "path", values_files("expected-error.txt"), ids=lambda path: f"{owner(path)}/{path.parent.name}"
)
def test_editors_refuse_what_ytt_refuses(path: Path, editors_schemas: dict[str, Draft202012Validator]) -> None:
    expected = path.parent.name.removeprefix("refused-") not in BEYOND_JSON_SCHEMA
    assert bool(list(editors_schemas[owner(path)].iter_errors(load(path)))) is expected


@pytest.mark.parametrize(
    "path", values_files("expected-error.txt"), ids=lambda path: f"{owner(path)}/{path.parent.name}"
)
def test_refusal_names_the_key_and_what_is_allowed(path: Path) -> None:
    message = (path.parent / "expected-error.txt").read_text()
    for key in leaf_keys(load(path)):
        assert key in message
    assert re.search(r"must be: \S+|expected: \S+", message)
    assert re.search(r"found: \S+", message), "the refusal does not show what is wrong"


FREE_MAPS = ("labels", "annotations", "pod_labels", "node_selector")


def leaf_keys(node: Any) -> Iterator[str]:
    """Yield the innermost keys of values, without those that are an option's own content."""
    for key, child in node.items():
        if isinstance(child, dict) and child and key not in FREE_MAPS:
            yield from leaf_keys(child)
        else:
            yield key


@pytest.mark.parametrize("client", list(Client))
def test_default_values_file_changes_nothing(client: Client, staged: StagedPackage, tmp_path: Path) -> None:
    written = default_values_file(staged.openapi(), client)
    uncommented = "".join(line.removeprefix("# ") for line in written.splitlines(keepends=True))
    assert "\n#" not in uncommented
    assert load(write_values(tmp_path, uncommented)) == staged.defaults(), "an option is missing, or another value"
    assert staged.text(write_values(tmp_path, uncommented)) == staged.text()
    assert staged.text(write_values(tmp_path, written)) == staged.text()


def test_annotated_values_change_nothing(
    staged: StagedPackage, member: str, exported: dict[str, ValuesSchema], tmp_path: Path
) -> None:
    text = valuesdoc.annotated(exported[member], "test")
    assert load(write_values(tmp_path, text)) == staged.defaults()
    assert staged.text(write_values(tmp_path, text)) == staged.text()


def options(schema: Mapping[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every key of the schema, parents too."""
    for name, child in schema.get("properties", {}).items():
        yield ".".join((*at, name)), child
        yield from options(child, (*at, name))


def test_every_key_is_described(staged: StagedPackage) -> None:
    for path, option in options(staged.openapi()):
        assert option.get("title"), f"{path} has no title"
        description = option.get("description", "")
        assert description.endswith("."), f"{path} has no description, or one that is not a sentence"
        assert ": {}" not in description
        if not option.get("properties"):
            assert "default" in option, f"{path} has no default"


def test_keys_of_the_community_package_are_there(package: StagedPackage) -> None:
    kinds = {path: option.get("type") for path, option in options(package.openapi())}
    old = load(EXAMPLES / "community-0.5.4.yaml")
    for path in [
        "namespace",
        *(
            f"whereabouts.config.resources.{part}.{name}"
            for part in ("limits", "requests")
            for name in ("cpu", "memory")
        ),
        "ip_reconciler.config.schedule",
        *(f"ip_reconciler.config.resources.requests.{name}" for name in ("cpu", "memory")),
    ]:
        assert kinds[path] == "string"
        value = old
        for key in path.split("."):
            value = value[key]
        assert isinstance(value, str)


def test_names_in_the_schema_are_of_one_style(package: StagedPackage) -> None:
    kubernetes_own = re.compile(r"\.affinity\.")
    for path, _ in options(package.openapi()):
        if not kubernetes_own.search(path):
            assert re.fullmatch(r"[a-z0-9_.]+", path)
