"""Registries whose certificate a private CA signed: --registry-ca-cert, for every tool."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import CarvelwrightError, ExitCode, RegistryError
from carvelwright.reference import Reference
from carvelwright.tools import authorities, crane, imgpkg, tags
from tests.cluster.pki import Authority
from tests.helpers.images import deployment, push_image, yaml_package
from tests.helpers.proxy import Fault, Proxy
from tests.helpers.registries import bundle_directory, impatient, push_bundle, with_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain
    from tests.conftest import PackageProject


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private CA, made with openssl."""
    return new_authority(tmp_path_factory.mktemp("ca"))


def new_authority(directory: Path) -> Authority:
    made = Authority.create(directory)
    made.issue("server", "/CN=server", server=("IP:127.0.0.1",))
    return made


@contextlib.contextmanager
def tls(registry: str, authority: Authority) -> Iterator[Proxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.crt("server"), authority.key("server"))
    with Proxy(registry, tls=context) as proxy:
        yield proxy


@pytest.fixture
def secure(registry: str, authority: Authority) -> Iterator[Proxy]:
    """A registry that speaks TLS."""
    with tls(registry, authority) as proxy:
        yield proxy


def use_all(toolset: Toolchain, address: str, scratch: Path) -> None:
    """Push, pull, copy and list with every tool."""
    target = Reference.parse(f"{address}/t/p:new")
    lock = imgpkg.push_bundle(
        toolset.imgpkg, bundle_directory(scratch), target, scratch / "lock.yml", step="x", timeout=60, note=print
    )
    imgpkg.copy_to_tar(toolset.imgpkg, target, scratch / "archive.tar", step="x", timeout=60, note=print)
    pulled = crane.pull_verified_bundle(toolset.crane, target, 1 << 20, step="x", timeout=60, note=print)
    assert pulled is not None
    assert pulled.digest == lock.image.digest
    source = lock.image.repository.at(pulled.digest)
    assert crane.put_tag(toolset.crane, source, scratch.name, step="x", timeout=60, note=print)
    found = tags.list_tags(toolset.crane, target.repository, step="x", timeout=60, note=print)
    assert found is not None
    assert {"new", scratch.name} <= found


def test_every_tool_trusts_the_ca(secure: Proxy, authority: Authority, toolset: Toolchain, tmp_path: Path) -> None:
    certificates = authorities.read(authority.crt())
    with authorities.trusting(toolset.crane.environment, certificates) as environment:
        use_all(with_environment(toolset, **environment), secure.address, tmp_path)
    assert len(secure.log) > 10


def test_the_users_own_cas_are_trusted_as_well(
    registry: str, secure: Proxy, authority: Authority, toolset: Toolchain, tmp_path: Path
) -> None:
    other = new_authority(tmp_path / "other")
    named = {**toolset.crane.environment, "SSL_CERT_FILE": str(other.crt())}
    with (
        tls(registry, other) as second,
        authorities.trusting(named, authorities.read(authority.crt())) as environment,
    ):
        for number, proxy in enumerate((secure, second)):
            (tmp_path / str(number)).mkdir()
            use_all(with_environment(toolset, **environment), proxy.address, tmp_path / str(number))


def test_a_ca_that_is_not_trusted_is_reported_at_once_with_the_option(
    secure: Proxy, toolset: Toolchain, tmp_path: Path
) -> None:
    quick = impatient(toolset)
    target = Reference.parse(f"{secure.address}/t/p:new")
    notes: list[str] = []

    def push() -> None:
        lock = tmp_path / "lock.yml"
        directory = bundle_directory(tmp_path)
        imgpkg.push_bundle(quick.imgpkg, directory, target, lock, step="x", timeout=60, note=notes.append)

    for ask in (
        push,
        lambda: crane.digest(quick.crane, target, step="x", timeout=60, note=notes.append),
        lambda: tags.list_tags(quick.crane, target.repository, step="x", timeout=60, note=notes.append),
    ):
        with pytest.raises(RegistryError) as caught:
            ask()
        assert caught.value.hint == "name the CA that signed the registry's certificate: --registry-ca-cert FILE"
    assert not [note for note in notes if "trying again" in note]
    # Nothing was asked in plain HTTP where TLS failed.
    assert secure.log == []


def bad_files(scratch: Path, authority: Authority) -> dict[str, tuple[bytes, str]]:
    certificate = authority.crt().read_bytes()
    return {
        "empty": (b"", "holds no certificate"),
        "text": (b"hello", "holds no certificate"),
        "key": (authority.key().read_bytes(), "holds no certificate"),
        "binary": (ssl.PEM_cert_to_DER_cert(certificate.decode()), "holds no certificate"),
        "cut": (certificate[: len(certificate) // 2], "certificate 1 of "),
        "broken": (certificate.replace(b"\nM", b"\nA", 1), "certificate 1 of "),
        "second broken": (certificate + certificate[:200], "certificate 2 of "),
        "large": (certificate + b" " * (1 << 20), "larger than"),
    }


@pytest.mark.parametrize("name", ["empty", "text", "key", "binary", "cut", "broken", "second broken", "large"])
def test_a_file_without_certificates_is_refused_before_any_work(
    hello: PackageProject, authority: Authority, tmp_path: Path, name: str
) -> None:
    content, words = bad_files(tmp_path, authority)[name]
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    outcome = hello.run("build", "--registry-ca-cert", str(path))
    assert outcome.code in (2, 3), outcome
    assert str(path) in outcome.err
    assert words in outcome.err
    assert not (hello.root / "build").exists()


@pytest.mark.parametrize("name", ["nowhere.pem", "."])
def test_a_file_that_is_not_there_is_refused(hello: PackageProject, name: str) -> None:
    for command in ("build", "vendor"):
        outcome = hello.run(command, "--registry-ca-cert", name)
        assert outcome.code == 2
        assert "--registry-ca-cert" in outcome.err
    outcome = hello.run("images", "update", environment={"CARVELWRIGHT_REGISTRY_CA_CERT": name})
    assert outcome.code == 2
    assert "the environment variable CARVELWRIGHT_REGISTRY_CA_CERT" in outcome.err


def test_keys_beside_the_certificates_are_copied_nowhere(authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(f"# ours\n{authority.key().read_text()}{authority.crt().read_text()}")
    certificates = authorities.read(both)
    assert "PRIVATE" not in certificates
    assert certificates.strip() == authority.crt().read_text().strip()
    environment = {"TMPDIR": str(tmp_path / "none")}
    with (
        pytest.raises(CarvelwrightError, match="cannot write") as caught,
        authorities.trusting(environment, certificates),
    ):
        pass
    assert caught.value.exit_code is ExitCode.FILESYSTEM


def test_packages_are_built_to_a_registry_with_a_private_ca_and_from_one(
    secure: Proxy, authority: Authority, toolset: Toolchain, tool_environment: dict[str, str], tmp_path: Path
) -> None:
    push_image(toolset.crane.path, tmp_path, f"{secure.upstream}/up/nginx:1")
    package = yaml_package(tmp_path / "package", tool_environment, deployment("a", f"{secure.address}/up/nginx:1"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment = {"TMPDIR": str(scratch)}
    ca = ["--registry-ca-cert", str(authority.crt())]
    refused = package.run("images", "update", environment=environment)
    assert refused.code == 6
    assert "--registry-ca-cert FILE" in refused.err
    package.run("images", "update", *ca, environment=environment).ok()
    package.run("build", "--to", f"{secure.address}/p", *ca, environment=environment).ok()
    # Another version of it, which reads what is there.
    package.replace("package/metadata.yaml", "displayName: Hello", "displayName: Hullo")
    again = package.run(
        "build", "--to", f"{secure.address}/p", environment={**environment, "CARVELWRIGHT_REGISTRY_CA_CERT": ca[1]}
    )
    again.ok()
    assert list(scratch.iterdir()) == []
    assert {entry.status for entry in secure.log if entry.method == "PUT"} == {201}


def test_a_failing_registry_leaves_no_certificates_behind(
    secure: Proxy, authority: Authority, hello: PackageProject, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["--to", f"{secure.address}/p", "--registry-ca-cert", str(authority.crt())]
    with secure.also(Fault("403", times=None)):
        assert hello.run("build", *arguments, environment={"TMPDIR": str(scratch)}).code == 6
    assert list(scratch.iterdir()) == []


def test_plain_http_works_beside_a_ca_as_before(
    registry: str, authority: Authority, toolset: Toolchain, tmp_path: Path
) -> None:
    push_bundle(toolset, f"{registry}/t/x", tmp_path)
    with authorities.trusting(toolset.crane.environment, authorities.read(authority.crt())) as environment:
        use_all(with_environment(toolset, **environment), registry, tmp_path)
