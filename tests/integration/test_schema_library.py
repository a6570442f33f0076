"""A project of its own whose values schema uses carvelwright's library, a library beside it and several documents."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from carvelwright import yamldoc
from carvelwright.steps.render import export_file
from tests.conftest import ROOT
from tests.helpers.builds import built as built  # noqa: PLC0414 - a fixture
from tests.helpers.builds import call, published_bundle, release_of

if TYPE_CHECKING:
    from carvelwright.tools.toolchain import Toolchain
    from carvelwright.values import ValuesSchema
    from tests.conftest import PackageProject

SCHEMA = """\
#@ load("/carvelwright/options.lib.yml", "resources", "tolerations")
#@ load("/carvelwright/quantities.star", "limits_cover")
#@ load("/carvelwright/rules.star", "port")
#@ load("names.lib.yml", "mirror", "person")
#@ requests = {"cpu": "10m", "memory": "16Mi"}
#@ def sample():
---
name: blue
#@ end

#@data/values-schema
#@schema/examples ("A sample", sample()[0])
---
#@schema/desc "What is said."
greeting: hello
#@schema/desc "How many say it at once."
replicas: 1
#@schema/desc "To whom it is said."
#@schema/validation person
name: world
#@schema/desc "Ports."
#@schema/default ["80"]
ports:
#@schema/validation port
- ""
#@schema/validation limits_cover(requests)
resources: #@ resources(limits={"cpu": "", "memory": "64Mi"}, requests=requests, memory_limit="Little is enough.")
#@schema/default []
tolerations: #@ tolerations()
mirrors:
  first: #@ mirror("a")
  second: #@ mirror("b")
"""
LIBRARY = """\
#@ load("/carvelwright/rules.star", "matches")
#@ person = matches("lower-case letters", "[a-z]+", "letters")
#@ def mirror(name):
#@schema/desc "The mirror {}.".format(name)
#@schema/validation ("a host", lambda value: value != "")
#! jsonschema: {"minLength": 1, "$comment": "a host"}
host: #@ name + ".example.com"
#@ end
"""
OVERLAY = """\
#@ load("@ytt:data", "data")
#@ load("@ytt:overlay", "overlay")
#@ load("/carvelwright/quantities.star", "milli_cpu")
#@overlay/match by=overlay.subset({"kind": "Deployment"})
---
metadata:
  #@overlay/match missing_ok=True
  annotations:
    #@overlay/match missing_ok=True
    example.com/cpu: #@ str(milli_cpu(data.values.resources.requests.cpu))
    #@overlay/match missing_ok=True
    example.com/mirror: #@ data.values.mirrors.second.host
"""


def use_library(project: PackageProject) -> PackageProject:
    (project.root / "values-schema.yaml").write_text(SCHEMA)
    (project.root / "names.lib.yml").write_text(LIBRARY)
    (project.root / "bundle/config/overlays/resources.yaml").write_text(OVERLAY)
    return project


def keywords(project: PackageProject) -> jsonschema.Draft202012Validator:
    document = json.loads(project.run("values", "jsonschema").ok().out)
    jsonschema.Draft202012Validator.check_schema(document)
    return jsonschema.Draft202012Validator(document)


def test_rules_carry_their_side_for_editors(hello: PackageProject) -> None:
    use_library(hello).run("check").ok()
    editor = keywords(hello)
    assert editor.is_valid({"name": "x", "ports": ["443"], "resources": {"limits": {"cpu": "250m"}}})
    for wrong in (
        {"name": "X"},
        {"ports": ["https"]},
        {"resources": {"limits": {"cpu": "much"}}},
        {"tolerations": [{"operator": "Exist"}]},
        {"mirrors": {"second": {"host": ""}}},
    ):
        assert not editor.is_valid(wrong), wrong
    annotated = hello.run("values", "annotated").ok().out
    assert "# Allowed: letters.\n" in annotated
    assert "    # Allowed: a host.\n" in annotated
    assert "Empty: no limit. Little is enough." in annotated
    assert yamldoc.load_all_text(annotated, Path("v"))[0]["mirrors"]["second"] == {"host": "b.example.com"}


def test_the_bundle_renders_as_the_server_does_it(
    built: PackageProject, registry: str, imgpkg: Path, ytt: Path, tmp_path: Path
) -> None:
    use_library(built).run("build", "--to", f"{registry}/p").ok()
    assert built.run("build", "--to", f"{registry}/p").ok().out.startswith("up to date")
    bundle = tmp_path / "pulled"
    call(imgpkg, "pull", "-b", published_bundle(built, f"{registry}/p"), "-o", bundle, "--tty=false")
    staged = {path.relative_to(bundle / "config").as_posix() for path in (bundle / "config").rglob("*")}
    assert {"values-schema.yaml", "names.lib.yml", "carvelwright/options.lib.yml"} <= staged
    assert "carvelwright/schedule.star" not in staged, "staged, although nothing loads it"
    values = tmp_path / "given.yaml"
    values.write_text("resources:\n  requests:\n    cpu: '0.5'\n")
    rendered = call(ytt, "-f", bundle / "config", "--data-values-file", values).decode()
    (deployment,) = [each for each in yamldoc.load_all_text(rendered, values) if each["kind"] == "Deployment"]
    assert deployment["metadata"]["annotations"]["example.com/cpu"] == "500"
    assert deployment["metadata"]["annotations"]["example.com/mirror"] == "b.example.com"
    values.write_text("name: X1\nresources:\n  limits:\n    memory: 20Mi\n  requests:\n    memory: 30Mi\n")
    refused = subprocess.run(
        [ytt, "-f", bundle / "config", "--data-values-file", values], capture_output=True, text=True, check=False
    ).stderr
    assert "must be: lower-case letters (by: values-schema.yaml:" in refused
    assert 'found: "X1"' in refused
    assert "found: limits.memory 20Mi is below requests.memory 30Mi" in refused


def test_a_change_of_a_library_is_a_change_of_the_package_if_it_is_loaded(built: PackageProject) -> None:
    (built.root / "names.lib.yml").write_text(LIBRARY)
    assert built.run("build").ok().out.startswith("up to date")
    use_library(built).run("build").ok()
    before = release_of(built)
    assert built.run("build").ok().out.startswith("up to date")
    built.replace("names.lib.yml", ".example.com", ".example.org")
    assert not built.run("build").ok().out.startswith("up to date")
    assert release_of(built) != before
    (defaults,) = (built.root / "dist").glob("*-data-values.yaml")
    assert "host: b.example.org" in defaults.read_text()


def export(path: Path, toolset: Toolchain) -> ValuesSchema:
    return export_file(path, path.read_bytes(), toolset)


def properties(schema: ValuesSchema) -> Any:
    return schema.openapi["properties"]


def test_the_example_of_the_page_is_a_schema(hello: PackageProject, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/schema-library.md").read_text()
    example, own = (block.partition("```")[0] for block in page.split("```yaml\n")[1:])
    (hello.root / "values-schema.yaml").write_text(example + "greeting: hello\nreplicas: 1\n")
    hello.run("check").ok()
    values = tmp_path / "values.yaml"
    values.write_text("log_dir: /var/log/\nlabels: {app: x}\nresources: {limits: {cpu: 1m}, requests: {cpu: 2m}}\n")
    refused = hello.run("render", "-f", str(values)).err
    for found in (
        '"/var/log/" ends with a slash',
        "app is set by the package",
        "limits.cpu 1m is below requests.cpu 2m",
    ):
        assert f"found: {found}" in refused
    editor = keywords(hello)
    assert not editor.is_valid({"log_dir": "/var/log/"})
    assert editor.is_valid({"log_dir": "/var/log", "labels": None, "name": "carvel"})
    (hello.root / "own.lib.yml").write_text(own)
    load = '#@ load("own.lib.yml", "mirror", "odd")\n'
    more = '#@schema/validation odd\ncount: 1\nmirror: #@ mirror("a")\n'
    (hello.root / "values-schema.yaml").write_text(load + example + "greeting: hello\nreplicas: 1\n" + more)
    hello.run("check").ok()
    assert not keywords(hello).is_valid({"count": 2})
    assert not keywords(hello).is_valid({"mirror": {"host": ""}})


def test_keywords_of_functions_conditions_and_items(tmp_path: Path, toolset: Toolchain) -> None:
    schema = tmp_path / "values-schema.yaml"
    schema.write_text("""\
#@ load("/carvelwright/rules.star", "matches", "port", "rule")
#@ def host(strict):
#@ if strict:
#! jsonschema: {"const": "a"}
name: a
#@ else:
#! jsonschema: {"minLength": 1, "x-order": {"b": 1, "a": 2.0}}
name: b
#@ end
#@ end

#@data/values-schema
---
strict: #@ host(True)
loose: #@ host(False)
#@schema/validation port, matches("two digits", "[0-9]{2}", "two digits"), min_len=1
#! jsonschema: {"maxLength": 2, "$comment": "a low port"}
port: "80"
#@schema/default []
list:
#! jsonschema: {"minLength": 2}
- ""
#@schema/default []
codes:
#@schema/validation matches("a digit", "[0-9]", "a digit")
- ""
#@schema/default []
servers:
-
  #@schema/validation port
  port: "1"
#@schema/nullable
#@schema/validation rule("odd", lambda value: value % 2 == 1, {"not": {"multipleOf": 2}})
count: 1
""")
    found = export(schema, toolset).extras
    assert found == {
        ("strict", "name"): {"const": "a"},
        ("loose", "name"): {"minLength": 1, "x-order": {"b": 1, "a": 2.0}},
        ("port",): {"pattern": "^[0-9]{2}$", "$comment": "a low port", "maxLength": 2},
        ("list", "[]"): {"minLength": 2},
        ("codes",): {"$comment": "each: a digit"},
        ("codes", "[]"): {"pattern": "^[0-9]$", "$comment": "a digit"},
        ("servers", "[]", "port"): {"pattern": "^[1-9][0-9]{0,4}$"},
        ("count",): {"not": {"multipleOf": 2}},
    }
    assert list(found["loose", "name"]["x-order"]) == ["b", "a"]
    schema.write_bytes(schema.read_bytes().replace(b"\n", b"\r\n"))
    assert export(schema, toolset).extras == found


DOCUMENTS = """\
#@ load("lib.star", "colours")
#@ def sample():
---
name: blue
#@ end

#@data/values-schema
#@schema/title "Values"
#@schema/examples ("A sample", sample()[0])
---
#@schema/desc "What to greet."
#@schema/validation one_of=colours
name: red
"""


@pytest.mark.parametrize("name", ["values-schema.yaml", "odd name.yml", "schema"])
def test_commands_take_the_schema_file_of_another_project(hello: PackageProject, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "lib.star").write_text('colours = ["red", "blue"]\n')
    (other / name).write_text(DOCUMENTS)
    before = sorted(other.iterdir())
    assert hello.run("values", "defaults", "--schema", str(other / name)).ok().out == "# name: red\n"
    (table,) = json.loads(hello.run("values", "table", "--schema", str(other / name)).ok().out)["Tables"]
    (row,) = table["Rows"]
    assert row["description"] == "What to greet."
    assert sorted(other.iterdir()) == before
    # It needs no project: the tools are carvelwright's own.
    (hello.root / "package/build.yaml").unlink()
    assert hello.run("values", "defaults", "--schema", str(other / name)).ok().out == "# name: red\n"
    (other / "lib.star").unlink()
    refused = hello.run("values", "defaults", "--schema", str(other / name))
    assert refused.code == 3
    assert "cannot load lib.star" in refused.err


def test_a_schema_of_several_documents_is_a_projects_schema(hello: PackageProject) -> None:
    (hello.root / "lib.star").write_text('colours = ["red", "blue"]\n')
    greeting = "greeting: hello\nreplicas: 1\n"
    (hello.root / "values-schema.yaml").write_text(DOCUMENTS + greeting)
    hello.run("check").ok()
    assert "# name: red\n" in hello.run("values", "defaults").ok().out
    assert "one of" in hello.run("values", "annotated").ok().out
    hello.run("render").ok()
    wrong = hello.root / "wrong.yaml"
    wrong.write_text("name: green\n")
    assert "must be: one of" in hello.run("render", "-f", str(wrong)).err


def test_problems_of_what_a_schema_loads_are_reported_with_their_places(hello: PackageProject) -> None:
    use_library(hello)
    hello.replace("names.lib.yml", '{"minLength": 1, "$comment": "a host"}', "{broken")
    hello.replace("values-schema.yaml", "greeting: hello", "greeting: hello\n1: x")
    assert "values-schema.yaml:16:1: key 1 is not text" in hello.run("check").err
    hello.replace("values-schema.yaml", "\n1: x", "")
    assert "names.lib.yml:6: not JSON after `jsonschema:`" in hello.run("check").err
    hello.replace("names.lib.yml", "{broken", '{"minLenght": 1}')
    outcome = hello.run("check")
    # What a function returns has its place where the function is called.
    line = SCHEMA.splitlines().index('  first: #@ mirror("a")') + 1
    assert f"values-schema.yaml:{line}:3: mirrors.first.host: 'minLenght' is not a keyword" in outcome.err
    hello.replace("names.lib.yml", '{"minLenght": 1}', "{}")
    hello.replace("values-schema.yaml", '"/carvelwright/rules.star"', '"/carvelwright/rule.star"')
    assert "values-schema.yaml:3: carvelwright's library has no file rule.star; did you mean rules.star?" in (
        hello.run("check").err
    )
    hello.replace("values-schema.yaml", '"/carvelwright/rule.star"', '"/carvelwright/rules.star"')
    hello.run("check").ok()
    for name in ("bundle/config/carvelwright/rules.star", "bundle/config/names.lib.yml"):
        (hello.root / name).parent.mkdir(exist_ok=True)
        (hello.root / name).write_text("x = 1\n")
    outcome = hello.run("build")
    assert outcome.code == 3
    assert "bundle/config/carvelwright: this name is reserved for the build" in outcome.err
    assert "names.lib.yml: bundle/config/names.lib.yml has the same name in the bundle" in outcome.err
