"""A proxy in front of a registry that misbehaves as told: faults of single requests, and manners that stay.

    with Proxy(registry, [Fault("429", path="/manifests/", times=2)]) as proxy:
        ... proxy.address ...
        assert proxy.log[0].fault == "429"

What is random comes from `seed`. Standard library only, nothing of carvelwright.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import random
import re
import socket
import struct
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

Kind = Literal[
    "reset", "delay", "cut", "flip", "truncate", "400", "401", "403", "413", "404", "429", "500", "502", "503", "504"
]
USER, PASSWORD = "user", "secret"

_CODES = {
    400: "MANIFEST_INVALID",
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "MANIFEST_UNKNOWN",
    405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
}
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/?]+)")
_LISTING = re.compile(r"/v2/(?P<name>.+)/tags/list")
_HOP = ("connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-authorization", "expect")


@dataclass(frozen=True)
class Fault:
    """What happens to requests that match: `method` and `path` are searched for as patterns.

    `cut` takes half of an upload and resets, `truncate` sends half of an answer, `flip` changes one bit of its body,
    `delay` waits `seconds`. `skip` requests pass first, then `times` (None: all) are hit, each with this chance.
    `code` is that of the error in an answer, where it is not the usual one.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    times: int | None = 1
    skip: int = 0
    chance: float = 1.0
    seconds: float = 0.1
    retry_after: int | None = None
    code: str = ""


@dataclass(frozen=True)
class Manners:
    """How the registry is all the time.

    `immutable`: a tag that exists is not written again, in the words of that registry, but for those in `exempt`.
    `page`: tags are listed so many at a time, with a `Link` or without. `listing`: the status of every listing;
    `listing_code` is the code in it ("": a page without one). `hidden`: for so many seconds a new tag is not listed.
    `absent`: for so many seconds a new manifest is not there. `auth`: credentials are wanted, and each bearer token
    serves `token_uses` requests.
    """

    immutable: Literal["harbor", "ecr"] | None = None
    exempt: frozenset[str] = frozenset()
    page: int | None = None
    link: bool = True
    listing: int | None = None
    listing_code: str = ""
    hidden: float = 0
    absent: float = 0
    auth: Literal["basic", "bearer"] | None = None
    token_uses: int | None = None


@dataclass(frozen=True)
class Entry:
    """A request and what became of it: `status` is None where nothing was answered, `fault` what was done to it.

    `sent` and `received` are the bytes of the bodies, as the client has it.
    """

    method: str
    path: str
    status: int | None
    fault: str | None
    sent: int = 0
    received: int = 0
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Proxy:
    """Serves at `address`, HOST:PORT of loopback, what `upstream` has; `log` has every request, as answered."""

    def __init__(
        self,
        upstream: str,
        faults: Sequence[Fault] = (),
        manners: Manners | None = None,
        *,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.manners = manners or Manners()
        self.log: list[Entry] = []
        self.tls = tls
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._lock = threading.Lock()
        self._met = [0] * len(self.faults)
        self._hit = [0] * len(self.faults)
        self._pushed: dict[str, float] = {}
        self._tokens: dict[str, int] = {}
        self._server = _Server((host, 0), self)
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextlib.contextmanager
    def also(self, fault: Fault) -> Iterator[None]:
        """Have one more fault, from now on and while the block runs."""
        with self._lock:
            self.faults.append(fault)
            self._met.append(0)
            self._hit.append(0)
        try:
            yield
        finally:
            with self._lock:
                for each in (self.faults, self._met, self._hit):
                    each.pop()

    def behave(self, faults: Sequence[Fault], manners: Manners, *, seed: int = 0) -> None:
        """Misbehave in another way from now on."""
        with self._lock:
            self.faults, self.manners = list(faults), manners
            self._met, self._hit = [0] * len(self.faults), [0] * len(self.faults)
            self._random = random.Random(seed)  # noqa: S311 - no secret

    def hits(self, kind: str | None = None) -> list[Entry]:
        """Return the requests that a fault was done to, or one of this kind."""
        return [entry for entry in self.log if entry.fault and kind in (None, entry.fault)]

    def requests(self, method: str, path: str) -> list[Entry]:
        """Return the requests that match two patterns."""
        return [entry for entry in self.log if re.search(method, entry.method) and re.search(path, entry.path)]

    def choose(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request, and count it."""
        with self._lock:
            for number, fault in enumerate(self.faults):
                if not (re.search(fault.method, method) and re.search(fault.path, path)):
                    continue
                self._met[number] += 1
                spent = fault.times is not None and self._hit[number] >= fault.times
                if self._met[number] > fault.skip and not spent and self._random.random() < fault.chance:
                    self._hit[number] += 1
                    return fault
        return None

    def flipped(self, body: bytes) -> bytes:
        """Return a body with one bit changed."""
        if not body:
            return body
        with self._lock:
            place, bit = self._random.randrange(len(body)), self._random.randrange(8)
        return body[:place] + bytes([body[place] ^ (1 << bit)]) + body[place + 1 :]

    def remember_push(self, path: str, digest: str | None) -> None:
        """Note that a manifest was written just now, for the first time or again."""
        match = _MANIFEST.fullmatch(path)
        if match is None:
            return
        with self._lock:
            for reference in filter(None, (match["reference"], digest)):
                self._pushed.setdefault(f"{match['name']}:{reference}", time.monotonic())

    def is_new(self, name: str, reference: str, seconds: float) -> bool:
        """Tell whether a manifest was written within the last seconds."""
        return time.monotonic() - self._pushed.get(f"{name}:{reference}", -1e9) < seconds

    def token(self) -> str:
        """Return a new bearer token."""
        with self._lock:
            token = f"token{len(self._tokens)}"
            self._tokens[token] = self.manners.token_uses or 1_000_000
        return token

    def spends(self, token: str) -> bool:
        """Take one use of a token; False where it has none left."""
        with self._lock:
            self._tokens[token] = left = self._tokens.get(token, 0) - 1
        return left >= 0


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        self.proxy = proxy
        self.to_reset: set[object] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        connection.settimeout(60)
        if self.proxy.tls is not None:
            # The handshake is for the connection's own thread.
            connection = self.proxy.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        if request in self.to_reset:
            # Without a farewell.
            self.to_reset.discard(request)
            request.close()
        else:
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.proxy = self.server.proxy

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name that it has there
        """Say nothing."""

    def handle_any(self) -> None:
        path = self.path.partition("?")[0]
        fault = self.proxy.choose(self.command, self.path)
        kind = fault.kind if fault else None
        if fault and kind == "delay":
            time.sleep(fault.seconds)
        if kind in ("reset", "cut"):
            self._note(None, kind)
            self._reset(half=kind == "cut")
            return
        body = self._body()
        if fault and kind and kind.isdigit():
            reply = _error(int(kind), fault.code)
            if fault.retry_after is not None:
                reply.headers.append(("Retry-After", str(fault.retry_after)))
        else:
            reply = self._answer(path, body)
        if kind == "flip":
            reply = _Reply(reply.status, reply.headers, self.proxy.flipped(reply.body))
        # Before the client can know of it.
        self._note(reply.status, kind, len(body), 0 if self.command == "HEAD" else len(reply.body))
        self._send(reply, half=kind == "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815 - names that it calls

    def _note(self, status: int | None, kind: str | None, sent: int = 0, received: int = 0) -> None:
        self.proxy.log.append(Entry(self.command, self.path, status, kind, sent, received))

    def _answer(self, path: str, body: bytes) -> _Reply:
        manners = self.proxy.manners
        if path == "/token":
            return self._token()
        if manners.auth and not self._is_let_in():
            scheme = (
                'Basic realm="r"'
                if manners.auth == "basic"
                else f'Bearer realm="{self._scheme()}://{self.headers["Host"]}/token",service="test"'
            )
            return _Reply(401, [("WWW-Authenticate", scheme)], _error(401).body)
        listing, manifest = _LISTING.fullmatch(path), _MANIFEST.fullmatch(path)
        if listing and (manners.listing or manners.page or manners.hidden):
            return self._list(listing["name"])
        if manifest and self.command in ("GET", "HEAD"):
            if self.proxy.is_new(manifest["name"], manifest["reference"], manners.absent):
                return _error(404)
        elif manifest and self.command == "PUT" and self._is_refused(path, manifest["reference"]):
            return _refusal(manners.immutable, manifest["reference"])
        reply = self._forward(self.command, self.path, body)
        if manifest and self.command == "PUT" and reply.status == http.client.CREATED:
            digests = [value for name, value in reply.headers if name.lower() == "docker-content-digest"]
            self.proxy.remember_push(path, digests[0] if digests else None)
        return reply

    def _list(self, name: str) -> _Reply:
        manners = self.proxy.manners
        if manners.listing is not None:
            if manners.listing_code:
                return _error(manners.listing, manners.listing_code)
            return _Reply(manners.listing, [("Content-Type", "text/html")], b"<html>no</html>")
        reply = self._forward("GET", f"/v2/{name}/tags/list?n=1000", b"")
        if reply.status != http.client.OK:
            return reply
        tags = sorted(json.loads(reply.body)["tags"] or [])
        tags = [tag for tag in tags if not self.proxy.is_new(name, tag, manners.hidden)]
        query = dict(urllib.parse.parse_qsl(self.path.partition("?")[2]))
        tags = [tag for tag in tags if tag > query.get("last", "")]
        size = min(int(query.get("n", 1000)), manners.page or 1000)
        page, headers = tags[:size], [("Content-Type", "application/json")]
        if manners.link and len(tags) > size:
            following = urllib.parse.urlencode({"last": page[-1], "n": size})
            headers.append(("Link", f'</v2/{name}/tags/list?{following}>; rel="next"'))
        return _Reply(200, headers, json.dumps({"name": name, "tags": page}).encode())

    def _is_refused(self, path: str, reference: str) -> bool:
        manners = self.proxy.manners
        if not manners.immutable or ":" in reference or reference in manners.exempt:
            return False
        return self._forward("HEAD", path, b"").status == http.client.OK

    def _is_let_in(self) -> bool:
        sent = self.headers.get("Authorization", "")
        if self.proxy.manners.auth == "basic":
            return sent == _basic()
        return sent.startswith("Bearer ") and self.proxy.spends(sent.removeprefix("Bearer "))

    def _token(self) -> _Reply:
        if self.headers.get("Authorization") != _basic():
            return _error(401)
        return _Reply(200, [("Content-Type", "application/json")], json.dumps({"token": self.proxy.token()}).encode())

    def _scheme(self) -> str:
        return "https" if self.proxy.tls is not None else "http"

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _reset(self, *, half: bool) -> None:
        if half:
            self.rfile.read(min(int(self.headers.get("Content-Length", 0)) // 2, 1 << 20))
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.to_reset.add(self.request)
        self.close_connection = True

    def _forward(self, method: str, path: str, body: bytes) -> _Reply:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in (*_HOP, "content-length")}
        # What the client spoke to the proxy for is no business of the registry's.
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["X-Forwarded-Proto"] = self._scheme()
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body=body if method in ("PUT", "POST", "PATCH") else None, headers=headers)
            response = connection.getresponse()
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP]
            return _Reply(response.status, kept, response.read())

    def _send(self, reply: _Reply, *, half: bool) -> None:
        self.send_response(reply.status)
        length = str(len(reply.body))
        for name, value in reply.headers:
            if name.lower() == "content-length":
                # The answer to HEAD has the length of what it does not send.
                length = value if self.command == "HEAD" else length
            elif name.lower() not in ("date", "server"):
                self.send_header(name, value)
        if reply.status != http.client.NO_CONTENT:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body[: len(reply.body) // 2] if half else reply.body)
        self.close_connection = self.close_connection or half


def _basic() -> str:
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


def _error(status: int, code: str = "") -> _Reply:
    code = code or _CODES.get(status, "UNAVAILABLE" if status == http.client.SERVICE_UNAVAILABLE else "UNKNOWN")
    body = json.dumps({"errors": [{"code": code, "message": f"the proxy says {status}"}]}).encode()
    return _Reply(status, [("Content-Type", "application/json")], body)


def _refusal(kind: str | None, tag: str) -> _Reply:
    """Return how these registries refuse to overwrite a tag."""
    status, code, words = (
        (412, "PRECONDITION", f"Failed to process request due to '{tag}' configured as immutable.")
        if kind == "harbor"
        else (
            400,
            "TAG_INVALID",
            f"The image tag '{tag}' already exists in the 'x' repository and cannot be overwritten: it is immutable.",
        )
    )
    body = json.dumps({"errors": [{"code": code, "message": words}]}).encode()
    return _Reply(status, [("Content-Type", "application/json")], body)
