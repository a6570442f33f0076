"""All tags of a repository, on real registries and on those that list as they like."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING

import pytest

from carvelwright.errors import ExitCode, RegistryError
from carvelwright.reference import Repository
from carvelwright.tools import tags
from tests.conftest import free_address
from tests.helpers.proxy import PASSWORD, USER, Fault, Manners, Proxy
from tests.helpers.registries import any_registry as any_registry  # noqa: PLC0414 - a fixture
from tests.helpers.registries import impatient, push_bundle, put_tags, with_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carvelwright.tools.toolchain import Toolchain

NAMES = ["0.1.0", "0.10.0", "0.2.0", "latest", "r.1", "Z"]


@pytest.fixture
def quick(toolset: Toolchain) -> Toolchain:
    return impatient(toolset)


@pytest.fixture
def filled(registry: str, toolset: Toolchain, tmp_path: Path) -> str:
    """A registry with a repository t/p that has the tags of NAMES."""
    fill(registry, toolset, tmp_path, NAMES)
    return registry


def fill(address: str, toolset: Toolchain, scratch: Path, names: list[str]) -> None:
    digest = push_bundle(toolset, f"{address}/t/p", scratch, names[0])
    connection = http.client.HTTPConnection(address, timeout=30)
    with contextlib.closing(connection):
        accepted = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        connection.request("GET", f"/v2/t/p/manifests/{digest}", headers=accepted)
        manifest = connection.getresponse().read()
    put_tags(address, "t/p", names[1:], manifest)


def listed(
    toolset: Toolchain,
    address: str,
    path: str = "t/p",
    notes: list[str] | None = None,
    timeout: float = 60,
) -> set[str] | None:
    """List, without the tag of imgpkg's own."""
    noted = notes if notes is not None else []
    repository = Repository.parse(f"{address}/{path}")
    found = tags.list_tags(toolset.crane, repository, step="list", timeout=timeout, note=noted.append)
    return None if found is None else {tag for tag in found if not tag.endswith(".imgpkg")}


def refused(toolset: Toolchain, address: str, timeout: float = 60) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        listed(toolset, address, timeout=timeout)
    error = caught.value
    assert error.exit_code is ExitCode.REGISTRY
    assert error.step == "list"
    assert error.hint
    assert address in error.message
    return error


def test_registries_list_all_tags_beyond_their_pages(any_registry: str, toolset: Toolchain, tmp_path: Path) -> None:
    assert listed(toolset, any_registry) == set()
    names = [f"0.{number}.0" for number in range(1003)]
    fill(any_registry, toolset, tmp_path, names)
    assert listed(toolset, any_registry) == set(names)
    assert listed(toolset, any_registry, "t/other") == set()


@pytest.mark.parametrize("link", [True, False], ids=["with Link", "without"])
def test_pages_of_two_are_read_to_the_end(filled: str, toolset: Toolchain, link: bool) -> None:
    with Proxy(filled, manners=Manners(page=2, link=link)) as proxy:
        assert listed(toolset, proxy.address) == set(NAMES)
        assert len(proxy.requests("GET", "/tags/list")) >= 4


@pytest.mark.parametrize(
    ("status", "code"),
    [(403, "DENIED"), (403, ""), (404, ""), (405, "UNSUPPORTED"), (405, ""), (501, ""), (400, "UNSUPPORTED")],
)
def test_a_registry_that_refuses_to_list_is_told_from_one_that_fails(
    filled: str, quick: Toolchain, status: int, code: str
) -> None:
    with Proxy(filled, manners=Manners(listing=status, listing_code=code)) as proxy:
        assert listed(quick, proxy.address) is None


@pytest.mark.parametrize("status", [413, 400])
def test_a_registry_that_wants_no_page_size_is_asked_without(filled: str, quick: Toolchain, status: int) -> None:
    with Proxy(filled, [Fault("413" if status == 413 else "400", path=r"n=1000")], Manners(page=50)) as proxy:
        assert listed(quick, proxy.address) == set(NAMES)


def test_a_new_tag_is_listed_when_the_registry_lists_it(filled: str, toolset: Toolchain, tmp_path: Path) -> None:
    with Proxy(filled, manners=Manners(hidden=60)) as proxy:
        push_bundle(toolset, f"{proxy.address}/t/p", tmp_path, "new")
        assert listed(toolset, proxy.address) == set(NAMES)
    assert listed(toolset, filled) == {*NAMES, "new"}


FAULTS = [
    (Fault("429", path="/tags/", times=2, retry_after=0), "429 Too Many Requests"),
    (Fault("500", path="/tags/", times=2), "500 Internal Server Error"),
    (Fault("503", path="/tags/", times=2), "503 Service Unavailable"),
    (Fault("reset", path="/tags/", times=2), "reset"),
    (Fault("truncate", path="/tags/", times=2), "cut off"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=lambda value: getattr(value, "kind", ""))
def test_what_fails_for_a_while_is_asked_again(filled: str, quick: Toolchain, fault: Fault, words: str) -> None:
    notes: list[str] = []
    with Proxy(filled, [fault]) as proxy:
        # HTTPS is tried first, and a reset there may be no more than a server that does not speak it.
        assert listed(quick, proxy.address, notes=notes) == set(NAMES)
        assert len(proxy.hits()) == 2
    assert len(notes) == 2
    assert all(note.startswith(f"step list: registry {proxy.address}: ") and words in note for note in notes)
    assert "trying again in " in notes[0]
    assert "(attempt 2 of 4)" in notes[0]


@pytest.mark.parametrize("kind", ["429", "500", "503", "reset"])
def test_what_fails_for_good_is_reported_after_bounded_attempts(filled: str, quick: Toolchain, kind: str) -> None:
    with Proxy(filled, [Fault(kind, path="/tags/", times=None)]) as proxy:  # type: ignore[arg-type]
        error = refused(quick, proxy.address)
        assert len(proxy.hits()) == 4
    assert (kind if kind.isdigit() else "reset") in error.message
    assert "attempts: 4; the one before ended with: " in str(error.details)


def test_a_bit_that_flips_in_a_list_is_no_tag(filled: str, quick: Toolchain) -> None:
    outcomes = []
    for seed in range(40):
        with Proxy(filled, [Fault("flip", path="/tags/", times=1)], Manners(page=50), seed=seed) as proxy:
            try:
                outcomes.append(listed(quick, proxy.address) or set())
            except RegistryError as error:
                assert "something other than a list of tags" in error.message  # noqa: PT017 - one of two outcomes
    # A list has no digest: what is one letter off cannot be seen, but nothing crashes.
    assert all(len(found) <= len(NAMES) + 1 for found in outcomes)


# Registries of our own words


@contextlib.contextmanager
def answering(answer: Callable[[str], tuple[int, dict[str, str], bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Answer every GET by its path; yields the address, and the paths and credentials that were asked."""
    seen: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.path} {self.headers.get('Authorization', '')}".strip())
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Write no log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


def page(found: object, link: str | None = None) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Link": link} if link else {}, json.dumps({"name": "t/p", "tags": found}).encode()


NONSENSE = {
    "no JSON": (200, {}, b"<html>welcome</html>"),
    "nothing": (200, {}, b""),
    "a list": (200, {}, b"[]"),
    "no tags": (200, {}, b'{"name": "x"}'),
    "a mapping": page({"a": 1}),
    "a text": page("latest"),
    "a number": page([1]),
    "a path": page(["../../etc"]),
    "a long one": page(["a" * 129]),
    "nested": (200, {}, b"[" * 100_000),
    "half a character": (200, {}, b'{"tags": ["\\ud800"]}'),
    "bytes": (200, {}, b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_no_list(quick: Toolchain, name: str) -> None:
    with answering(lambda _path: NONSENSE[name]) as (address, _):
        assert "something other than a list of tags" in refused(quick, address).message


def test_an_answer_without_end_is_cut(quick: Toolchain) -> None:
    with answering(lambda _path: (200, {"Content-Length": str(1 << 40)}, b" " * (40 << 20))) as (address, _):
        assert f"an answer of more than {32 << 20} bytes" in refused(quick, address).message


@pytest.mark.parametrize("link", ['<?n=1000>; rel="next"', '</v2/t/p/tags/list?n=1000>; rel="next"'])
def test_pages_in_a_circle_are_an_error(quick: Toolchain, link: str) -> None:
    with answering(lambda _path: page(["a"], link)) as (address, seen):
        assert "a list of tags that does not end" in refused(quick, address).message
        assert len(seen) == 1


def test_tags_that_are_pushed_while_the_list_is_read_do_not_end_it_in_an_error(quick: Toolchain) -> None:
    # docker-registry 2.8 ignores `n` and `last`, sends all tags, unsorted, and no `Link`.
    tags = ["b", "a"]

    def all_of_them(_path: str) -> tuple[int, dict[str, str], bytes]:
        tags.insert(0, f"new{len(tags)}")
        return page(list(tags))

    with answering(all_of_them) as (address, seen):
        assert {"a", "b"} <= (listed(quick, address) or frozenset())
        assert len(seen) == 2


def test_pages_without_end_are_an_error(quick: Toolchain) -> None:
    def endless(path: str) -> tuple[int, dict[str, str], bytes]:
        number = int(path.partition("last=")[2] or 0) + 1
        return page([f"{number}.{each}" for each in range(20_000)], f'<?last={number}>; rel="next"')

    with answering(endless) as (address, seen):
        assert "has more than 200000 tags" in refused(quick, address).message
        assert len(seen) == 11


def test_an_answer_that_trickles_ends_in_time(quick: Toolchain) -> None:
    stop = threading.Event()

    def slow(_path: str) -> tuple[int, dict[str, str], bytes]:
        stop.wait(20)
        return page(["a"])

    with answering(slow) as (address, _):
        error = refused(quick, address, timeout=1)
        stop.set()
    assert "did not send its tags: " in error.message
    assert "time" in error.message


def test_a_link_leads_nowhere_else(quick: Toolchain) -> None:
    with answering(lambda _path: page(["evil"])) as (elsewhere, stolen):

        def lead_away(path: str) -> tuple[int, dict[str, str], bytes]:
            if "last=a" in path:
                return page(["b"])
            return page(["a"], f'<http://{elsewhere}/repository/x/v2/t/p/tags/list?last=a>; rel="next"')

        with answering(lead_away) as (address, seen):
            assert listed(quick, address) == {"a", "b"}
            assert seen[1] == "/v2/t/p/tags/list?last=a"
        assert stolen == []


def test_a_redirect_takes_no_credentials_along(quick: Toolchain, tmp_path: Path) -> None:
    with answering(lambda _path: page(["a"])) as (elsewhere, seen):

        def guard(path: str) -> tuple[int, dict[str, str], bytes]:
            return 307, {"Location": f"http://{elsewhere}{path}"}, b""

        with answering(guard) as (inner, _), Proxy(inner, manners=Manners(auth="basic")) as proxy:
            tools = with_environment(quick, DOCKER_CONFIG=str(docker_config(tmp_path, proxy.address)))
            assert listed(tools, proxy.address) == {"a"}
        assert seen
        assert not any("Basic" in request for request in seen)


# Credentials


def docker_config(scratch: Path, address: str) -> Path:
    directory = scratch / "docker"
    directory.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return directory


def helper_config(scratch: Path, address: str, action: str) -> dict[str, str]:
    """Have docker's credentials of a registry from a helper, a program."""
    directory = scratch / "docker"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"credHelpers": {address: "test"}}))
    program = directory / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{action}\n")
    program.chmod(0o755)
    return {"DOCKER_CONFIG": str(directory), "PATH": f"{directory}:/usr/bin:/bin"}


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_are_those_of_docker_and_its_helpers(
    filled: str, quick: Toolchain, tmp_path: Path, auth: str
) -> None:
    with Proxy(filled, manners=Manners(auth=auth)) as proxy:  # type: ignore[arg-type]
        tools = with_environment(quick, DOCKER_CONFIG=str(docker_config(tmp_path / "..", proxy.address)))
        assert listed(tools, proxy.address) == set(NAMES)
        answer = json.dumps({"ServerURL": proxy.address, "Username": USER, "Secret": PASSWORD})
        helped = with_environment(quick, **helper_config(tmp_path, proxy.address, f"echo '{answer}'"))
        assert listed(helped, proxy.address) == set(NAMES)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("action", ["", "echo '{}'", "exit 1", "echo nonsense"])
def test_missing_credentials_are_reported_with_the_login(
    filled: str, quick: Toolchain, tmp_path: Path, auth: str, action: str
) -> None:
    with Proxy(filled, manners=Manners(auth=auth)) as proxy:  # type: ignore[arg-type]
        tools = with_environment(quick, DOCKER_CONFIG=str(tmp_path))
        if action:
            tools = with_environment(quick, **helper_config(tmp_path, proxy.address, action))
        error = refused(tools, proxy.address)
        assert len(proxy.log) < 12
    assert "docker login" in str(error.hint) or "credentials" in f"{error.message} {error.details}", error.lines()


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_credentials_that_do_not_suffice_are_a_refusal_to_list(
    filled: str, quick: Toolchain, tmp_path: Path, auth: str
) -> None:
    with Proxy(filled, [Fault("401", path="/tags/", times=None, skip=1)], Manners(auth=auth)) as proxy:  # type: ignore[arg-type]
        tools = with_environment(quick, DOCKER_CONFIG=str(docker_config(tmp_path, proxy.address)))
        assert listed(tools, proxy.address) is None
        assert len(proxy.requests("GET", "/tags/")) == 2


@pytest.mark.parametrize(("kind", "link"), [("401", True), ("403", True), ("401", False)])
def test_a_refusal_in_the_middle_is_no_end_of_the_list(filled: str, quick: Toolchain, kind: str, link: bool) -> None:
    fault = Fault(kind, path="last=", times=None)  # type: ignore[arg-type]
    with Proxy(filled, [fault], Manners(page=2, link=link, auth=None)) as proxy, pytest.raises(RegistryError):
        listed(quick, proxy.address)


def test_a_token_that_runs_out_while_pages_are_read_is_renewed(filled: str, quick: Toolchain, tmp_path: Path) -> None:
    with Proxy(filled, manners=Manners(auth="bearer", token_uses=2, page=1)) as proxy:
        tools = with_environment(quick, DOCKER_CONFIG=str(docker_config(tmp_path, proxy.address)))
        assert listed(tools, proxy.address) == set(NAMES)
        assert len(proxy.requests("GET", "/token")) >= 3


def test_no_registry_is_reported_at_once(quick: Toolchain) -> None:
    error = refused(quick, free_address())
    assert "refused" in error.message
    assert str(error.hint).startswith("start the registry ")
