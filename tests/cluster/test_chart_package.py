"""A package of another kind, with an existing image and a vendored chart, from one repository with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import chart_package, packages, walk
from tests.cluster.chart_package import FIRST, NEXT, REF_NAME, Author, Operator
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

OPEN = "message: open\nreplicas: 2\n"
CLOSED = "message: closed\nreplicas: 2\n"
OURS = [
    (product.ref_name, version)
    for product in (walk.MULTUS, walk.WHEREABOUTS)
    for version in (product.released, product.further)
]


@pytest.fixture(scope="module")
def author(
    raised_cluster: Cluster, project: walk.Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Author]:
    """Give the example's author, after Whereabouts was published."""
    with chart_package.upstream(raised_cluster):
        yield Author.stage(tmp_path_factory.mktemp("chart-package") / "signboard", raised_cluster)


@pytest.fixture(scope="module")
def operator(raised_cluster: Cluster, author: Author) -> Iterator[Operator]:
    """Give the operator, to whom the first version is known; nothing is left of it at the end."""
    raised_cluster.kubectl.apply(walk.namespace(chart_package.NAMESPACE))
    found = Operator(raised_cluster, author)
    found.add_repository(author.publish())
    yield found
    found.remove()
    raised_cluster.kubectl("delete", "namespace", chart_package.NAMESPACE)


def test_it_lies_in_one_repository_with_ours(operator: Operator) -> None:
    assert operator.listed() == sorted([(REF_NAME, FIRST), *OURS])


def test_pods_run_the_locked_image_from_where_the_package_was_copied_to(operator: Operator) -> None:
    assert operator.install(FIRST, OPEN)["status"]["version"] == FIRST
    operator.wait_shown("open", "signboard 1.0.0", by=2)
    assert {_image(pod) for pod in operator.boards()} == {operator.author.image()}


def test_values_change_what_is_shown_and_bad_ones_change_nothing(operator: Operator) -> None:
    operator.install(FIRST, CLOSED)
    operator.wait_shown("closed", "signboard 1.0.0", by=2)
    with pytest.raises(packages.ReconcileError, match=r"(?s)replicas.*must be: a value <= 5"):
        operator.request(FIRST, "message: never\nreplicas: 9\n")
    operator.wait_shown("closed", "signboard 1.0.0", by=2)


def test_the_next_version_of_the_tutorial_is_an_upgrade(operator: Operator) -> None:
    operator.install(FIRST, OPEN)
    before = operator.author.image()
    operator.author.follow_tutorial(chart_package.NEXT_VERSION)
    operator.add_repository(operator.author.publish())
    assert operator.listed() == sorted([(REF_NAME, FIRST), (REF_NAME, NEXT), *OURS])
    assert operator.install(NEXT, OPEN)["status"]["version"] == NEXT
    operator.wait_shown("open", "signboard 1.1.0", by=2)
    assert {_image(pod) for pod in operator.boards()} == {operator.author.image()} != {before}


def test_uninstalling_leaves_nothing(operator: Operator) -> None:
    operator.install(NEXT if (REF_NAME, NEXT) in operator.listed() else FIRST, OPEN)
    made = {"deployment.apps/signboard", "service/signboard"}
    assert made < operator.objects()
    operator.remove()
    # What the operator applied, what kapp-controller notes of the repository, and what every namespace has.
    kinds = ("package", "internalpackage", "secret/signboard-", "role", "serviceaccount/")
    names = ("configmap/signboard-repository.pkgr", "configmap/kube-root-ca.crt")

    def nothing_else() -> bool:
        if left := [each for each in operator.objects() if not each.startswith((*kinds, *names))]:
            raise ClusterError(f"left: {left}")
        return True

    wait_until("nothing is left", nothing_else)


def _image(pod: walk.Document) -> str:
    (container,) = pod["spec"]["containers"]
    return str(container["image"])
