"""A comparison for people: as text for a terminal, and as Markdown for a release page or a pull request."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from carvelwright.compare.changes import Change, Judgement, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from carvelwright.compare.comparison import Comparison
    from carvelwright.compare.manifests import ObjectChange

_WIDTH = 80
_MARKS = {"added": "+", "removed": "-", "renamed": ">"}
# GitHub refuses a comment of more than 65,536 characters; a release page takes twice that.
_COMMENT = 60_000
_WHOLE = "all values"
# So many changes of words are listed one by one.
_FEW = 3


def text(comparison: Comparison) -> str:
    """Return it as lines of 80 columns, but for what cannot be broken; with a final newline."""
    title = f"{comparison.package or 'values schema'}: {comparison.old} → {comparison.new}"
    lines = [_wrapped(title), *map(_wrapped, _verdict(comparison))]
    for title, body in (
        ("values", _values_text(comparison)),
        ("images", _images_text(comparison)),
        ("manifests", _manifests_text(comparison)),
        ("rights", _rights_text(comparison)),
        ("not compared", [_wrapped(f"  {gap.part}: {gap.reason}") for gap in comparison.gaps]),
    ):
        found = list(body)
        if found:
            lines += ["", title, *found]
    return "\n".join(lines) + "\n"


def _verdict(comparison: Comparison) -> list[str]:
    if comparison.empty:
        return ["nothing differs in what was compared" if comparison.gaps else "nothing differs"]
    if comparison.values is None:
        return []
    number = sum(change.breaking for change in comparison.values)
    if number:
        return [f"BREAKING for users' values: {number} of {_count(len(comparison.values), 'change')} of the values"]
    return ["compatible with users' values"]


def _values_text(comparison: Comparison) -> Iterator[str]:
    for change in _listed(comparison.values or ()):
        mark = "!" if change.breaking else _MARKS.get(change.kind, "~")
        word = f"{change.kind}{', BREAKING' if change.breaking else ''}"
        yield f"  {mark} {change.path or _WHOLE}  ({word})"
        yield _wrapped(f"      {change.reason}")


def _images_text(comparison: Comparison) -> Iterator[str]:
    for change in comparison.images or ():
        image = change.new or change.old
        yield f"  {_MARKS.get(change.kind, '~')} {image.name if image else ''}  ({change.kind})"
        yield from (f"      {line}" for line in change.lines())


def _manifests_text(comparison: Comparison) -> Iterator[str]:
    for change in comparison.manifests or ():
        yield _wrapped(f"  {_MARKS.get(change.kind, '~')} {change.id}  ({change.kind}; {_samples(change)})")
        if change.kind == "changed":
            yield from (f"      {line}" for line in change.diff.splitlines())


def _rights_text(comparison: Comparison) -> Iterator[str]:
    for change in comparison.rights or ():
        yield _wrapped(f"  {_MARKS[change.kind]} {change}")


def _listed(changes: Iterable[Change]) -> list[Change]:
    """Return the changes, what breaks first; descriptions that changed become one: there may be one for each option."""
    alone = [change for change in changes if change.kind is not Kind.DOCUMENTATION or "deprecated" in change.reason]
    others = [change for change in changes if change not in alone]
    found = sorted(alone, key=lambda change: not change.breaking)
    if len(others) <= _FEW:
        return [*found, *others]
    names = ", ".join(change.path or _WHOLE for change in others[:_FEW])
    more = f"{names} and {len(others) - _FEW} more, which --format json lists"
    whole = f"descriptions of {len(others)} options"
    return [*found, Change(Kind.DOCUMENTATION, whole, Judgement.COMPATIBLE, f"words for people changed: {more}")]


def _samples(change: ObjectChange) -> str:
    return f"with {', '.join(change.samples)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _wrapped(line: str) -> str:
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(
        line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def markdown(comparison: Comparison, limit: int = _COMMENT) -> str:
    """Return it as GitHub's Markdown, at most `limit` characters: diffs that do not fit are left out, and counted."""
    head = "\n".join(_markdown_head(comparison))
    blocks = [_object_block(change) for change in comparison.manifests or ()]
    kept: list[str] = []
    room = limit - len(head) - 200
    for block in blocks:
        if len(block) > room:
            break
        room -= len(block)
        kept.append(block)
    if len(kept) < len(blocks):
        kept.append(f"{_count(len(blocks) - len(kept), 'more object')} left out: this page has its limit.\n")
    objects = "\n".join([f"\n### Manifests\n\n{_count(len(blocks), 'object')}\n", *kept]) if blocks else ""
    return _fitting(head, limit - len(objects)) + objects


def _fitting(page: str, limit: int) -> str:
    if len(page) <= limit:
        return page
    return page[: max(0, limit - 100)].rpartition("\n")[0] + "\n\nThe rest is left out: this page has its limit.\n\n"


def _markdown_head(comparison: Comparison) -> Iterator[str]:
    title = _plain(comparison.package or "values schema")
    yield f"## {title}: {_plain(str(comparison.old))} → {_plain(str(comparison.new))}\n"
    for line in _verdict(comparison):
        yield f"**{line}**\n" if comparison.breaking else f"{line}\n"
    if comparison.values:
        rows = [
            f"| `{_code(change.path or _WHOLE)}` | {change.kind} | {_judged(change)} | {_cell(change.reason)} |"
            for change in _listed(comparison.values)
        ]
        yield "\n".join(
            ["### Values\n", "| option | change | judgement | why |", "| --- | --- | --- | --- |", *rows, ""]
        )
    if comparison.images:
        rows = [
            f"| `{_code(image.name)}` | {change.kind} | {'<br>'.join(_cell(line) for line in change.lines())} |"
            for change in comparison.images
            if (image := change.new or change.old)
        ]
        yield "\n".join(["### Images\n", "| image | change | |", "| --- | --- | --- |", *rows, ""])
    if comparison.rights:
        yield "\n".join(["### Rights\n", *(f"- {each.kind}: {_plain(str(each))}" for each in comparison.rights), ""])
    if comparison.gaps:
        yield "\n".join(
            [
                "### Not compared\n",
                *(f"- {gap.part}: {_plain(' '.join(gap.reason.split()))}" for gap in comparison.gaps),
                "",
            ]
        )


def _judged(change: Change) -> str:
    return "**breaking**" if change.judgement is Judgement.BREAKING else str(change.judgement)


def _object_block(change: ObjectChange) -> str:
    title = f"{change.kind}: {change.id} ({_samples(change)})"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", change.diff)), default=0))
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<details><summary>{escaped}</summary>\n\n{fence}diff\n{change.diff}{fence}\n\n</details>\n"


def _cell(words: str) -> str:
    return _plain(" ".join(words.split()))


def _plain(words: str) -> str:
    """Write a text that Markdown shows as it stands, also in a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", words)


def _code(words: str) -> str:
    return words.replace("`", "'").replace("|", "\\|")
