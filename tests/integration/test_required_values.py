"""Values that every user has to give: no default can be right, and the package is built all the same."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from jsonschema import Draft202012Validator

from carvelwright import yamldoc
from tests.helpers.builds import built as built  # noqa: PLC0414  # a fixture
from tests.helpers.builds import package_of

if TYPE_CHECKING:
    from tests.conftest import PackageProject

SCHEMA = """\
#@schema/desc "Host name of the service; there is no default that could be right."
#@schema/validation min_len=1
hostname: ""

database:
  #@schema/desc "Host name of the database."
  #@schema/nullable
  #@schema/validation not_null=True
  host: ""
  port: 5432

#@schema/desc "Where backups go; null: no backups."
#@schema/nullable
backup:
  #@schema/validation ("a bucket's name", lambda name: len(name) > 2)
  #! jsonschema: {"minLength": 3}
  bucket: ""
  days: 7
"""
SERVICE = """\
#@ load("@ytt:data", "data")
apiVersion: v1
kind: ConfigMap
metadata:
  name: #@ data.values.hostname
  namespace: default
data:
  database: #@ str(data.values.database.host)
"""
GIVEN = "hostname: shop\ndatabase:\n  host: db\n"


def demand(project: PackageProject) -> PackageProject:
    """Make the project require values; with its defaults a manifest has no name, which the API server refuses."""
    schema = project.root / "values-schema.yaml"
    schema.write_text(schema.read_text() + SCHEMA)
    (project.root / "bundle/config/base/service.yaml").write_text(SERVICE)
    (project.root / "given.yaml").write_text(GIVEN)
    return project


def test_check_accepts_the_package_and_warns_of_what_users_have_to_give(hello: PackageProject) -> None:
    outcome = demand(hello).run("check").ok()
    assert outcome.out == "ok: no errors, see the warnings\n"
    line = (hello.root / "values-schema.yaml").read_text().split("\n").index('hostname: ""') + 1
    assert f"values-schema.yaml:{line}:1: hostname: without a valid default, so that every user" in outcome.err
    assert 'found: ""\n    expected: length >= 1\n' in outcome.err
    assert "database.host: without a valid default" in outcome.err
    assert "expected: not null" in outcome.err
    assert "backup.bucket" not in outcome.err, "who wants no backups gives nothing"
    # What is wrong with manifests that nobody installs as they are does not end the command either.
    assert re.search(r"warning: .*service.yaml.*ConfigMap", outcome.err)


def test_render_refuses_defaults_and_names_the_keys(hello: PackageProject) -> None:
    demand(hello)
    refused = hello.run("render")
    assert (refused.code, refused.out) == (3, "")
    assert re.search(r"\n +hostname\n +from: .*\n +- must be: length >= 1", refused.err)
    assert re.search(r"\n +database.host\n +from: .*\n +- must be: not null", refused.err)
    assert "hint: write the values that ytt names above into a file and add it with -f\n" in refused.err
    rendered = hello.run("render", "-f", "given.yaml").ok()
    assert "  name: shop\n" in rendered.out
    # Again, now that the manifests with the defaults are known from a check.
    hello.run("check").ok()
    assert hello.run("render").code == 3


def test_a_values_file_of_the_author_has_the_manifests_checked(hello: PackageProject) -> None:
    renders = demand(hello).root / "package/renders"
    renders.mkdir()
    (renders / "shop.yaml").write_text(GIVEN)
    assert hello.run("check").ok().out == "ok: no errors, see the warnings\n"
    (renders / "shop.yaml").write_text(GIVEN.replace("shop", "No_Name"))
    refused = hello.run("check")
    assert refused.code == 3
    assert "No_Name" in refused.err
    # What turns an option need not give again what users have to give, but what it gives must be right.
    (renders / "shop.yaml").write_text("replicas: 2\n")
    hello.run("check").ok()
    (renders / "shop.yaml").write_text("replicas: 9\n")
    assert "must be: a value <= 5" in hello.run("check").err


def test_templates_that_fail_without_the_values_need_a_values_file(hello: PackageProject) -> None:
    demand(hello)
    hello.replace("bundle/config/base/service.yaml", "#@ data.values.hostname", "#@ data.values.hostname[0]")
    refused = hello.run("check")
    assert refused.code == 3
    assert "hint: add a file with the values that users have to give to package/renders/\n" in refused.err
    (hello.root / "package/renders").mkdir()
    (hello.root / "package/renders/given.yaml").write_text(GIVEN)
    hello.run("check").ok()


def test_a_manifest_is_checked_where_no_value_has_to_be_given(hello: PackageProject) -> None:
    (hello.root / "bundle/config/base/service.yaml").write_text(SERVICE.replace("#@ data.values.hostname", "''"))
    hello.replace("bundle/config/base/service.yaml", "#@ str(data.values.database.host)", "x")
    refused = hello.run("check")
    assert refused.code == 3
    assert "warning" not in refused.err


def test_the_package_is_built_and_says_what_has_to_be_given(built: PackageProject) -> None:
    outcome = demand(built).run("build").ok()
    assert "hostname: without a valid default" in outcome.err
    options = package_of(built)["spec"]["valuesSchema"]["openAPIv3"]["properties"]
    assert options["hostname"] == {
        "type": "string",
        "description": "Host name of the service; there is no default that could be right.",
        "default": "",
        "minLength": 1,
    }
    annotated = (built.root / "dist/hello-data-values.annotated.yaml").read_text()
    assert annotated == built.run("values", "annotated").ok().out
    assert annotated.split("\n---\n")[0].split("\n")[-2:] == [
        "# Give hostname, which must be: length >= 1.",
        "# Give database.host, which must be: not null.",
    ]
    assert (
        "# Required, must be: length >= 1.\n# Type: string.\n# Allowed: at least 1 characters.\n"
        "# The default is refused: \"\".\nhostname: ''\n"
    ) in annotated
    assert "  # Required, must be: not null.\n  # Type: string.\n" in annotated
    assert "#  # Required, must be: a bucket's name.\n" in annotated
    (built.root / "annotated.yaml").write_text(annotated)
    assert "length >= 1" in built.run("render", "-f", "annotated.yaml").err
    built.run("render", "-f", "annotated.yaml", "-f", "given.yaml").ok()


def test_the_page_of_options_says_what_has_to_be_given(hello: PackageProject) -> None:
    page = demand(hello).run("values", "markdown").ok().out
    assert "refused. `hostname` is required: length >= 1. `database.host` is required: not null. Every other" in page
    assert "### `hostname`\n\nHost name of the service; there is no default that could be right.\n\n" in page
    assert "\ntype string; **required**: length >= 1; allowed: at least 1 characters.\n" in page
    assert "### `backup`\n\nWhere backups go; null: no backups.\n\ntype object or null; default `null`.\n" in page
    assert "\ntype string; **required**: a bucket's name; allowed: at least 3 characters.\n" in page


VALUES = {
    GIVEN: True,
    GIVEN + "backup: null\n": True,
    GIVEN + "backup: {bucket: all}\n": True,
    "{}": False,
    "hostname: shop\n": False,
    "hostname: ''\ndatabase: {host: db}\n": False,
    "hostname: shop\ndatabase: {host: null}\n": False,
    "hostname: shop\ndatabase: {port: 1}\n": False,
    GIVEN + "backup: {}\n": False,
    GIVEN + "backup: {days: 1}\n": False,
}


def test_editors_ask_for_what_ytt_asks_for(hello: PackageProject) -> None:
    document = json.loads(demand(hello).run("values", "jsonschema").ok().out)
    Draft202012Validator.check_schema(document)
    editor = Draft202012Validator(document)
    assert {text: editor.is_valid(yamldoc.parse(text, hello.root).data) for text in VALUES} == VALUES
    for text, valid in VALUES.items():
        (hello.root / "given.yaml").write_text(text)
        assert (hello.run("render", "-f", "given.yaml").code == 0) is valid, text
