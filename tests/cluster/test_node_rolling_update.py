"""Another plugin is rolled out under a fast stream of its calls: none fails, and the token it uses is never a dead one.

The same stream sees the shell installer's `cp -f` and its pods' gap, so it would see ours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.cluster import pods, shell_installer, walk
from tests.cluster.plugin_stream import Place, Stream, digests, wait_installed
from tests.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.cluster import Cluster

RELINKED = "0.9.4+vmware.4-tkg.1"
RELEASE = """\
upstream: 0.9.4
revision: vmware.4-tkg.1
releasedAt: 2026-12-21T00:00:00Z
releaseNotes: The same code, linked to other bytes.
"""
# What the plugin says of itself is linked into it, so that its bytes change and nothing is compiled again.
STATUS = "version.ReleaseStatus: "
ELSEWHERE = Place(bin_dir="/opt/cni/bin/shell", conf_dir="/etc/cni/shell")
# Each roll writes the file once on each node. The stream sees nearly every time; but what it meets is chance.
MOST_ROLLS = 8
# What a call meets while `cp` writes the plugin, and what a look at the token finds between an old pod and the new one.
SEEN = ("Text file busy", "which is gone")


@pytest.fixture
def relinked(package: walk.Package, tmp_path: Path) -> Iterator[walk.Package]:
    """Give the installed package, listed with one more version whose plugin has other bytes."""
    project = walk.Project.stage(tmp_path)
    (project.root / "package/releases" / f"{RELINKED}.yaml").write_text(RELEASE)
    build = project.root / "package/build.yaml"
    text = build.read_text()
    for old, new in ((f"{STATUS}released", f"{STATUS}relinked"), ("  - linux/arm64\n", "")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    build.write_text(text)
    project.publish(package.cluster, RELINKED)
    listed = walk.Package(package.cluster, project)
    listed.add_repository(project.repository(RELINKED))
    yield listed
    package.restore()
    package.add_repository(package.project.repository(walk.NEXT))


def test_another_plugin_is_rolled_out_and_back_under_a_stream_of_calls(
    cluster: Cluster, relinked: walk.Package
) -> None:
    before = digests(cluster)
    with Workload(cluster, "rolled") as workload, Stream(workload, "192.168.81.0/24") as stream:
        stream.wait_for_calls()
        counts = [stream.counts()]
        relinked.install(RELINKED)
        counts.append(stream.counts())
        after = digests(cluster)
        # What is not written anew cannot be met half-written.
        assert set(before.values()).isdisjoint(after.values())
        relinked.install(walk.RELEASED, downgrade=True)
        counts.append(stream.counts())
        assert digests(cluster) == before
        # By now the server has forgotten what it took for good: the plugin's calls need a token that holds.
        stream.wait_for_calls(5)
    assert [str(call) for call in stream.failures()] == []
    # What was not called in the meantime could not fail.
    for earlier, later in pairwise(counts):
        assert all(later[key] > earlier[key] for key in earlier)


def test_the_stream_sees_a_plugin_that_is_copied_in_place_and_a_token_of_a_pod_that_is_gone(
    cluster: Cluster, package: walk.Package, shell_installed: None
) -> None:
    """Without this the test above could not fail."""
    with Workload(cluster, "copied") as workload, Stream(workload, "192.168.82.0/24", ELSEWHERE) as stream:
        stream.wait_for_calls()
        # As long as nothing is rolled out, all is well with this one too.
        assert [str(call) for call in stream.failures()] == []
        for roll in range(1, MOST_ROLLS):
            _roll(cluster, roll)
            if all(_met(stream, what) for what in SEEN):
                break
        stream.wait_for_calls()
    missed = [what for what in SEEN if not _met(stream, what)]
    assert missed == [], [str(call) for call in stream.failures()]


def _met(stream: Stream, what: str) -> bool:
    return any(what in call.problem for call in stream.failures())


@pytest.fixture
def shell_installed(cluster: Cluster) -> Iterator[None]:
    """Install by shell into directories of its own, beside the package."""
    archive = shell_installer.ensure_archive()
    for node in cluster.nodes:
        node.load_image(archive)
    cluster.kubectl.apply(*shell_installer.account())
    _roll(cluster, 0)
    wait_installed(cluster, ELSEWHERE)
    yield
    cluster.api.delete("daemonsets", shell_installer.NAME, namespace=shell_installer.NAMESPACE)
    pods.wait_gone(cluster.api, namespace=shell_installer.NAMESPACE, selector=f"name={shell_installer.NAME}")
    for node in cluster.nodes:
        node.machine.run(["rm", "-r", ELSEWHERE.bin_dir, ELSEWHERE.conf_dir])
    for document in shell_installer.account():
        cluster.kubectl("delete", document["kind"], document["metadata"]["name"], "--namespace=kube-system")


def _roll(cluster: Cluster, number: int) -> None:
    cluster.kubectl.apply(shell_installer.daemon_set(ELSEWHERE, roll=number))
    cluster.kubectl.wait_rollout(f"daemonset/{shell_installer.NAME}", namespace=shell_installer.NAMESPACE)
