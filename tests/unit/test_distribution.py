"""How a registry is asked: where plain HTTP may follow HTTPS, which proxy is used, what is trusted."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from carvelwright.tools.distribution import Client, TransportError, schemes

if TYPE_CHECKING:
    from collections.abc import Iterator


# As go-containerregistry 0.22 does.
LOCAL = "localhost:5000 127.0.0.1 127.0.0.1:5000 [::1]:5000 r.localhost r.localhost:5000 10.1.2.3 10.1.2.3:5000"
PRIVATE = "172.16.0.1:5000 172.31.255.255 192.168.1.1:443"
OTHERS = (
    "registry.example.com registry.example.com:5000 localhost.example.com 127.0.0.1.example.com:80 8.8.8.8:5000 "
    "172.32.0.1 100.64.0.1:5000 index.docker.io 10.0.0.1.example.com [2001:db8::1]:5000"
)


@pytest.mark.parametrize("registry", f"{LOCAL} {PRIVATE}".split())
def test_plain_http_is_tried_where_crane_tries_it(registry: str) -> None:
    assert schemes(registry) == ("https", "http")


@pytest.mark.parametrize("registry", OTHERS.split())
def test_plain_http_is_tried_nowhere_else(registry: str) -> None:
    assert schemes(registry) == ("https",)


@pytest.fixture
def proxied() -> Iterator[tuple[str, list[str]]]:
    """A proxy that answers everything by itself; yields its URL and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append(f"CONNECT {self.path}")
            self.send_error(502)

        def do_GET(self) -> None:
            asked.append(f"GET {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_arguments: object) -> None:
            """Write no log."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def ask(registry: str, environment: dict[str, str]) -> None:
    with pytest.raises(TransportError):
        Client(registry, environment).get("/v2/", authorization="Basic x", limit=100, timeout=5)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
def test_the_proxy_of_the_tools_environment_is_used(proxied: tuple[str, list[str]], variable: str) -> None:
    url, asked = proxied
    ask("registry.invalid", {variable: url})
    assert asked == ["CONNECT registry.invalid:443"]


@pytest.mark.parametrize("no_proxy", ["registry.invalid", ".invalid", "*"])
def test_no_proxy_is_heeded(proxied: tuple[str, list[str]], no_proxy: str) -> None:
    url, asked = proxied
    ask("registry.invalid", {"HTTPS_PROXY": url, "HTTP_PROXY": url, "NO_PROXY": no_proxy})
    assert asked == []


def test_no_proxy_is_asked_for_this_machine(proxied: tuple[str, list[str]]) -> None:
    url, asked = proxied
    ask("127.0.0.1:1", {"HTTPS_PROXY": url, "HTTP_PROXY": url})
    assert asked == []


@pytest.mark.parametrize("environment", [{"SSL_CERT_FILE": "/nowhere"}, {"SSL_CERT_DIR": "/nowhere:"}, {}])
def test_cas_that_cannot_be_read_are_left_out(environment: dict[str, str]) -> None:
    ask("127.0.0.1:1", environment)
