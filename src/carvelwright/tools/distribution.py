"""Asks a registry by HTTP what no tool asks as it is needed here, with the credentials and the trust of the tools.

By the standard library: one GET with a bound on size and time needs no more, and urllib has the rules of proxies and
redirects that Go's client has.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ipaddress
import json
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 16
# Nobody waits longer for one piece of an answer; an interrupt in another thread waits for as long.
_SILENCE_SECONDS = 30.0
_PRIVATE = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
_REDIRECTS = (301, 302, 303, 307, 308)
_LOCAL = re.compile(r"localhost:.*|(?:.*\.localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")


class TransportError(Exception):
    """No answer came, or not all of it. `again` tells whether another attempt may get one."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry answered: the status, the headers by lower-case names, the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def codes(self) -> list[str]:
        """Return the codes of the OCI distribution specification that an error carries."""
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            return [str(error["code"]) for error in json.loads(self.body)["errors"]]
        return []

    def words(self) -> str:
        """Return status and body in one line, for people."""
        text = self.body[:300].decode(errors="replace")
        return f"{self.status} {http.client.responses.get(self.status, '')}: {' '.join(text.split())}".rstrip(": ")


def schemes(registry: str) -> tuple[str, ...]:
    """Return how a registry is asked: HTTPS, and plain HTTP after it only where go-containerregistry does so."""
    host = registry.split(":", maxsplit=1)[0]
    with contextlib.suppress(ValueError):
        if any(ipaddress.ip_address(host) in network for network in _PRIVATE):
            return "https", "http"
    return ("https", "http") if _LOCAL.fullmatch(registry) else ("https",)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not to plain HTTP; credentials go nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in ("https", old.scheme):
            raise TransportError(f"a redirect to {new.scheme}://{new.netloc}", again=False)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            for name, value in req.unredirected_hdrs.items():
                request.add_unredirected_header(name, value)
        return request


class _Answers(urllib.request.HTTPErrorProcessor):
    """Takes every status but a redirect for an answer."""

    def http_response(self, request: Any, response: Any) -> Any:
        if response.status in _REDIRECTS:
            return super().http_response(request, response)
        return response

    https_response = http_response


class Client:
    """Asks one registry. `environment` is that of the tools: proxies and trusted CAs are found there."""

    def __init__(self, registry: str, environment: Mapping[str, str]) -> None:
        self._registry = registry
        self._environment = environment
        self._schemes = schemes(registry)
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(self._proxies()),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(
                context=_trust(environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR"))
            ),
            _Redirects(),
            _Answers(),
        ):
            self._opener.add_handler(handler)

    def get(self, path: str, *, authorization: str | None, limit: int, timeout: float) -> Answer:
        """Return the answer to GET of a path, at most `limit` bytes within `timeout` seconds; TransportError if none.

        Plain HTTP is tried where HTTPS is not spoken and `schemes` has it; what answered once is asked from then on.
        """
        deadline = time.monotonic() + timeout
        for scheme in self._schemes:
            try:
                answer = self._get(f"{scheme}://{self._registry}{path}", authorization, limit, deadline)
            except TransportError as error:
                # A certificate that is not trusted is an answer: what comes in plain HTTP is another server's.
                if scheme == self._schemes[-1] or "certificate" in error.reason:
                    raise
            else:
                self._schemes = (scheme,)
                return answer
        raise AssertionError

    def _get(self, url: str, authorization: str | None, limit: int, deadline: float) -> Answer:
        request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "carvelwright"})  # noqa: S310 - the scheme is ours
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        try:
            response = self._opener.open(request, timeout=_left(deadline))
            if response is None:
                raise TransportError("a redirect that leads nowhere", again=False)
            with response:
                names = dict.fromkeys(name.lower() for name in response.headers)
                headers = {name: ", ".join(response.headers.get_all(name)) for name in names}
                return Answer(response.status, headers, _read(response, limit, deadline))
        except urllib.error.URLError as error:
            raise _transport_error(error.reason) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _transport_error(error) from error

    def _proxies(self) -> dict[str, str]:
        named = {key.lower(): value for key, value in self._environment.items() if key.lower().endswith("_proxy")}
        proxies = {key.removesuffix("_proxy"): value for key, value in named.items() if value}
        host = urllib.parse.urlsplit(f"//{self._registry}").hostname or ""
        # Go asks no proxy for this machine itself.
        local = _LOCAL.fullmatch(self._registry) is not None
        bypassed = urllib.request.proxy_bypass_environment(host, {"no": proxies.pop("no", "")})  # type: ignore[attr-defined]
        return {} if local or bypassed else {key: proxies[key] for key in ("http", "https") if key in proxies}


@functools.cache
def _trust(file: str | None, directories: str | None) -> ssl.SSLContext:
    """Trust what the tools trust: the CAs of SSL_CERT_FILE and SSL_CERT_DIR, or else the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    named = [Path(file)] if file else []
    for directory in filter(None, (directories or "").split(":")):
        with contextlib.suppress(OSError):
            inside = sorted(Path(directory).iterdir())
            # OpenSSL finds those that are named by a hash when it needs them; Go reads every file.
            if any(_HASHED.fullmatch(path.name) for path in inside):
                context.load_verify_locations(capath=directory)
            else:
                named += inside
    for path in named:
        with contextlib.suppress(OSError):
            context.load_verify_locations(path)
    if not file and not directories:
        context.load_default_certs()
    return context


def _read(response: Any, limit: int, deadline: float) -> bytes:
    body = bytearray()
    while piece := response.read1(_CHUNK):
        body += piece
        if len(body) > limit:
            raise TransportError(f"an answer of more than {limit} bytes", again=False)
        _left(deadline)
    if response.length:
        raise TransportError("an answer that was cut off", again=True)
    return bytes(body)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TransportError("no complete answer in time", again=False)
    return min(left, _SILENCE_SECONDS)


def _transport_error(reason: Any) -> TransportError:
    if isinstance(reason, TransportError):
        return reason
    cut = isinstance(
        reason, ConnectionResetError | BrokenPipeError | TimeoutError | http.client.IncompleteRead | ssl.SSLEOFError
    )
    return TransportError(_words(reason), again=cut or isinstance(reason, http.client.RemoteDisconnected))


def _words(reason: Any) -> str:
    """Return a reason in the words of the operating system where it gave some, and on one line."""
    if isinstance(reason, OSError) and reason.strerror and not isinstance(reason, ssl.SSLError):
        return reason.strerror
    words = f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)
    return " ".join(words.split())
