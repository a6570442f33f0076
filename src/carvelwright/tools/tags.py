"""Lists all tags of a repository, on registries as they are.

`crane ls` does not serve: it follows `Link` only, and crane's own registry, older ones and some of Nexus cut the list
at `n` without one.
"""

from __future__ import annotations

import base64
import contextlib
import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from carvelwright import jsondoc
from carvelwright.bounds import Bounds
from carvelwright.errors import RegistryError
from carvelwright.process import stopwatch
from carvelwright.reference import Reference
from carvelwright.tools import registry, retries
from carvelwright.tools.distribution import Answer, Client, TransportError
from carvelwright.tools.registry import Exchange
from carvelwright.tools.retries import Failure, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from carvelwright.reference import Repository
    from carvelwright.tools.tool import Tool

# What crane asks for; ECR allows no more.
_PAGE = 1000
_TAGS = 200_000
_PAGES = 10_000
_SHOWN = 200
_LATER_HINT = "run the same command again once the registry has recovered"
_CREDENTIALS_HINT = (
    "log in with docker login {registry}, or repair the credential helper that docker's config.json names for it"
)
# All tags of 128 characters on one page, as a registry sends them that knows no pages.
_ANSWER = Bounds(32 << 20, _TAGS + 10, 5)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NEXT = re.compile(r'<([^<>]*)>[^,<]*?;\s*rel="?next"?', re.IGNORECASE)
_SCHEME = re.compile(r"(?:^|,\s*)(basic|bearer)\b", re.IGNORECASE)
_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _ABSENT, _TOO_LARGE = 200, 400, 401, 403, 404, 413
# What a registry answers that has no such thing as a listing, or not for these credentials.
_NO_LISTING = (_FORBIDDEN, 405, 501)
_NO_REPOSITORY = ("NAME_UNKNOWN", "NOT_FOUND", "REPOSITORY_NOT_FOUND")
_FAULTS = {429: Fault.THROTTLED} | dict.fromkeys((408, 500, 502, 503, 504), Fault.UNAVAILABLE)
_CODES = {"TOOMANYREQUESTS": Fault.THROTTLED, "UNAVAILABLE": Fault.UNAVAILABLE}


def list_tags(
    tool: Tool, repository: Repository, *, step: str, timeout: float, note: Callable[[str], None]
) -> frozenset[str] | None:
    """Return every tag of a repository, none where it does not exist; None where the registry refuses to list.

    It may list nothing at all, or not for these credentials: the next pull shows which. `tool` is crane, which is asked
    for credentials as docker has them, and only where the registry wants some. At most 200,000 tags within `timeout`
    seconds. RegistryError for other failures, missing credentials, lists that do not end, and nonsense.
    """
    exchange = Exchange(repository, "pull from", step, timeout, note)
    listing = _Listing(tool, exchange)
    path: str | None = listing.path(n=_PAGE)
    while path is not None:
        answer = listing.ask(path)
        if answer.status == _OK:
            path = listing.take(path, answer)
        elif answer.status in (_BAD_REQUEST, _TOO_LARGE) and path == listing.path(n=_PAGE):
            # Quay says so where it is asked for more than it likes; it then says itself where to go on.
            path = listing.path()
        elif listing.found:
            if listing.linked or listing.full or answer.status == _UNAUTHORIZED:
                raise listing.error(f"answered {answer.words()} in the middle of its list of tags")
            # Nothing said that there is more.
            path = None
        elif answer.status == _ABSENT and set(answer.codes()) & set(_NO_REPOSITORY):
            return frozenset()
        elif _refuses(answer):
            return None
        else:
            raise listing.error(f"answered {answer.words()} to the request for its tags")
    return frozenset(listing.found)


def _refuses(answer: Answer) -> bool:
    return (
        answer.status in _NO_LISTING
        or "UNSUPPORTED" in answer.codes()
        # No word of the distribution specification: there is nothing at this address.
        or (answer.status == _ABSENT and not answer.codes())
        # Credentials were sent, and do for other things at best; Harbor says so to robots that may only pull.
        or answer.status == _UNAUTHORIZED
    )


class _Listing:
    """A list of tags that is read page by page.

    `found` are those so far; `linked` says that the registry links its pages, `full` that the last page was full.
    """

    def __init__(self, tool: Tool, exchange: Exchange) -> None:
        self.tool = tool
        self.exchange = exchange
        self.found: dict[str, None] = {}
        self.linked = False
        self.full = False
        # Docker Hub has another name for itself and for names without a slash.
        self._repository = Reference.of_image(str(exchange.repository)).repository
        self._client = Client(self._repository.registry, tool.environment)
        self._authorization: str | None = None
        self._asked: set[str] = set()
        self._attempts: list[str] = []
        self._seconds = stopwatch()

    def path(self, **query: str | int) -> str:
        """Return the path of a page."""
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        return f"/v2/{self._repository.path}/tags/list{asked}"

    def ask(self, path: str) -> Answer:
        """Ask for a page, with credentials where the registry wants some."""
        if path in self._asked or len(self._asked) >= _PAGES:
            raise self.error(f"sends a list of tags that does not end: {path}")
        self._asked.add(path)
        try:
            answer = self._persist(path)
            if answer.status == _UNAUTHORIZED:
                # The first time nothing was sent; later a token may have run out.
                self._authorization = self._credentials(answer)
                answer = self._persist(path)
        except _RefusedError as error:
            answer, self._attempts = error.answer, getattr(error, "__notes__", [])
        except TransportError as error:
            self._attempts = getattr(error, "__notes__", [])
            raise self.error(f"did not send its tags: {error.reason}") from error
        return answer

    def take(self, path: str, answer: Answer) -> str | None:
        """Add the tags of a page; return the path of the next one, None where this was the last."""
        before, tags = len(self.found), self._parse(answer)
        self.full = len(tags) >= _PAGE
        self.found |= dict.fromkeys(tags)
        if len(self.found) > _TAGS:
            raise self.error(f"has more than {_TAGS} tags")
        link = _NEXT.search(answer.headers.get("link", ""))
        if link is not None:
            self.linked = True
            # Some name another host, or a path that is not there: only what is asked counts.
            query = urllib.parse.urlsplit(link[1]).query
            return f"{path.partition('?')[0]}?{query}"
        if self.linked or len(self.found) == before:
            return None
        # Some cut the list without a word, at `n` or below: it has ended where a page brings nothing new.
        following = self.path(n=_PAGE, last=tags[-1])
        # Asked already: it ignores `last`, sends all tags each time, and somebody has pushed one meanwhile.
        return None if following in self._asked else following

    def error(self, words: str, *, hint: str | None = None) -> RegistryError:
        """Return the error of this listing."""
        repository = self.exchange.repository
        return RegistryError(
            f"step {self.exchange.step}: registry {repository.registry} {words}",
            registry=repository.registry,
            reference=str(repository),
            details="\n".join([f"repository: {repository}", *self._attempts]),
            hint=hint or registry.filled(registry.word_hint(words) or _LATER_HINT, self.exchange),
            step=self.exchange.step,
        )

    def _persist(self, path: str) -> Answer:
        def attempt(left: float) -> Answer:
            answer = self._client.get(path, authorization=self._authorization, limit=_ANSWER.size, timeout=left)
            if _failure(answer) is not None:
                raise _RefusedError(answer)
            return answer

        left = self.exchange.timeout - self._seconds()
        return retries.persist(attempt, _understand, registry.with_timeout(self.exchange, left), self.tool.retries)

    def _parse(self, answer: Answer) -> list[str]:
        try:
            tags = jsondoc.parse(answer.body, _ANSWER)["tags"]
        except (ValueError, TypeError, KeyError) as error:
            raise self.error(f"answered with something other than a list of tags: {error!r}") from None
        if tags is None:
            # An empty list in Go.
            return []
        wrong = [tag for tag in tags if not _is_tag(tag)] if isinstance(tags, list) else tags
        if wrong or not isinstance(tags, list):
            raise self.error(f"answered with something other than a list of tags: {str(wrong)[:_SHOWN]}")
        return tags

    def _credentials(self, answer: Answer) -> str:
        """Return the header's value by which the registry lets in those whose credentials docker has."""
        scheme = _SCHEME.search(answer.headers.get("www-authenticate", ""))
        if scheme is not None and scheme[1].lower() == "basic":
            found = self._ask_crane("get", self._repository.registry)
            if not found.get("Secret"):
                hint = registry.filled(_CREDENTIALS_HINT, self.exchange)
                raise self.error("wants credentials, and docker has none", hint=hint)
            pair = f"{found.get('Username', '')}:{found.get('Secret', '')}"
            return f"Basic {base64.b64encode(pair.encode()).decode()}"
        found = self._ask_crane("token", "--", str(self._repository))
        return f"Bearer {found.get('access_token') or found.get('token', '')}"

    def _ask_crane(self, *arguments: str) -> dict[str, Any]:
        exchange = registry.with_timeout(self.exchange, self.exchange.timeout - self._seconds())
        output = registry.run(self.tool, ["auth", *arguments], exchange, otherwise=_CREDENTIALS_HINT)
        with contextlib.suppress(ValueError):
            found = jsondoc.parse(output.stdout)
            if isinstance(found, dict):
                return found
        hint = registry.filled(_CREDENTIALS_HINT, exchange)
        raise self.error("wants credentials, and crane gave none that can be read", hint=hint)


def _is_tag(tag: object) -> bool:
    return isinstance(tag, str) and _TAG.fullmatch(tag) is not None


class _RefusedError(Exception):
    """An answer that may be another one a moment later; never leaves this module."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.words())
        self.answer = answer


def _failure(answer: Answer) -> Failure | None:
    fault = _FAULTS.get(answer.status)
    for code in answer.codes() if answer.status != _OK else ():
        fault = fault or _CODES.get(code)
    if fault is None:
        return None
    wait = answer.headers.get("retry-after", "")
    return Failure(fault, f"it answered {answer.words()}", float(wait) if re.fullmatch(r"\d{1,4}", wait) else None)


def _understand(error: Exception) -> Failure | None:
    if isinstance(error, _RefusedError):
        return _failure(error.answer)
    if isinstance(error, TransportError) and error.again:
        return Failure(Fault.CUT, error.reason)
    return None
