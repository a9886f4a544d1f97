"""From the text of a record to Markdown that cannot be mistaken for markup.

Everything that a record says passes through here before it reaches a page: characters that mean
something to Markdown, its extensions, HTML or a template language become HTML entities.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

# An underscore inside a word means nothing; leaving it halves the work of rendering `chair_i`.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|&~^=$#@]|(?<![^\W_])_|_(?![^\W_])")
# A paragraph that starts like this would be a list, a rule or an admonition.
_BLOCK_START = re.compile(r"^([-+:?!/]|\d+[.)](?=\s|$))")
_CODE = re.compile(r"`([^`]+)`")
# What ends a line for Markdown, or for Python's splitlines().
_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# A character beyond the first 65,536 as JSON writes it: two numbers, which YAML takes for two
# characters.
_PAIR = re.compile(r"\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")

_REPOSITORY = r"repo:(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<commit>[\w.-]+?))?(?::(?P<path>[^\s,;:]+))?"
_SOURCE = re.compile(
    _REPOSITORY + r"(?=[,;.]?(?:\s|$))"
    r"|arxiv:(?P<arxiv>\d{4}\.\d{4,5})(?:#(?P<section>[\w.-]*\w))?"
    r"|(?P<url>https?://[^\s<>\"]*[^\s<>\".,;:)\]])"
    r"|(?P<same>(?<=with )[\w./-]+\.\w+(?:#L\d+(?:-L\d+)?)?)"
)
_WHOLE_ARXIV = re.compile(r"arxiv:(?P<arxiv>\d{4}\.\d{4,5})(?:#(?P<section>.+))?$", re.DOTALL)


def one_line(text: str) -> str:
    return " ".join(text.split())


def escape(text: object) -> str:
    """Text on one line in which no character is markup. Words in backticks become code."""
    words = one_line(str(text))
    parts = _CODE.split(words)
    escaped = [
        f"<code>{_entities(part)}</code>" if place % 2 else _entities(part)
        for place, part in enumerate(parts)
    ]
    return _BLOCK_START.sub(lambda m: f"&#{ord(m[0][0])};{m[0][1:]}", "".join(escaped))


def _entities(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", text)


def code(text: object) -> str:
    return f"<code>{_entities(one_line(str(text)))}</code>"


def attribute(text: str) -> str:
    """Text inside a double-quoted HTML attribute."""
    return _entities(one_line(text)).replace('"', "&#34;")


def external(label: str, url: str) -> str:
    """A link to another host, as HTML; `label` is escaped here. What is no web address stays text.

    Only links within the site are written in Markdown: those the strict build checks.
    """
    target = web_address(url)
    return f'<a class="external" href="{target}">{escape(label)}</a>' if target else escape(label)


def web_address(url: str) -> str:
    """A web address for an HTML attribute; nothing for what is none, such as `javascript:`."""
    if not url.startswith(("https://", "http://")):
        return ""
    return html.escape(quote(url, safe="%/:?#@!$&+,;=~-._"))


def shown_url(url: str) -> str:
    """A web address as a link that shows where it goes."""
    return external(re.sub(r"^https?://(www\.)?", "", url).rstrip("/"), url)


def linked(text: str) -> str:
    """Text of a record, with sources in it (`repo:...`, `arxiv:...`, addresses) as links."""
    text = one_line(text)
    whole = _WHOLE_ARXIV.match(text)
    if whole:
        return _arxiv(whole["arxiv"], whole["section"])
    parts, end, last = [], 0, ("", "")
    for match in _SOURCE.finditer(text):
        if match["same"] and not last[0]:
            continue
        between = text[end : match.start()]
        # Spaces around a link are kept: only the whole text is stripped.
        parts.append(_spaced(between))
        if match["repo"]:
            last = match["repo"], match["commit"] or "HEAD"
            parts.append(_repository(*last, match["path"]))
        elif match["same"]:
            parts.append(_repository(*last, match["same"]))
        elif match["arxiv"]:
            parts.append(_arxiv(match["arxiv"], match["section"]))
        else:
            parts.append(shown_url(match["url"]))
        end = match.end()
    rest = text[end:]
    return "".join(parts) + (_spaced(rest) if parts else escape(rest))


def _spaced(text: str) -> str:
    if not text.strip():
        return text
    before = " " if text[0] == " " else ""
    after = " " if text[-1] == " " else ""
    return before + escape(text) + after


def _repository(repo: str, commit: str, path: str | None) -> str:
    base = f"https://github.com/{repo}"
    if not path:
        shown = repo if commit == "HEAD" else f"{repo} at {commit[:7]}"
        return external(shown, base if commit == "HEAD" else f"{base}/tree/{commit}")
    file, _, lines = path.partition("#")
    lines = lines.replace("L", "")
    shown = f"{repo} {file}" + (f", line{'s' if '-' in lines else ''} {lines}" if lines else "")
    return external(shown, f"{base}/blob/{commit}/{path}")


def _arxiv(arxiv: str, section: str | None) -> str:
    shown = f"arXiv {arxiv}"
    if section:
        # `3.1` or `2-3` names a section; anything else says itself what it names.
        bare = re.fullmatch(r"[A-Z]?\d*(\.\d+)*([-,]\d+(\.\d+)*)?", section)
        several = "s" if re.search("[-,]", section) else ""
        shown += f", {f'section{several} ' if bare else ''}{section}"
    return external(shown, f"https://arxiv.org/abs/{arxiv}")


def block_of_code(text: str, language: str = "text") -> str:
    """A block of code in the theme's colours, as HTML on one line.

    Not a fence: its lines would pass through Markdown and through the build's own marks, and a line
    of a record that looks like a finished block would be taken for one.
    """
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    coloured: str = highlight(text.rstrip(), lexer, HtmlFormatter(nowrap=True))
    shown = _BREAK.sub(lambda match: f"&#{ord(match.group()[-1])};", coloured.rstrip("\n"))
    return f'<div class="highlight"><pre><code>{shown}</code></pre></div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; columns that are empty are left out.

    It is HTML on one line, which Markdown passes through and the build puts aside (`hook.py`).
    """
    rows = [list(row) for row in rows]
    keep = [n for n in range(len(head)) if n == 0 or any(row[n] for row in rows)]
    heads = "".join(f'<th scope="col">{head[n]}</th>' for n in keep)
    body = "".join(f"<tr>{''.join(f'<td>{row[n]}</td>' for n in keep)}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def front_matter(title: str, description: str = "", **more: object) -> str:
    """YAML front matter. The theme prints these two as they are, so they carry no markup."""
    values = {"title": html.escape(one_line(title), quote=True)}
    if description:
        values["description"] = html.escape(one_line(description), quote=True)
    lines = [f"{name}: {_yaml(value)}" for name, value in (values | more).items()]
    return "---\n" + "\n".join(lines) + "\n---\n"


def _yaml(value: object) -> str:
    """A value as YAML 1.1 on one line, in ASCII."""

    def whole(match: re.Match[str]) -> str:
        high, low = (int(each, 16) for each in match.groups())
        return f"\\U{0x10000 + ((high - 0xD800) << 10) + low - 0xDC00:08x}"

    return _PAIR.sub(whole, json.dumps(value))


def number(value: float) -> str:
    """A number without noise: `12.5`, `80`, `0.00001`."""
    if isinstance(value, float) and value and abs(value) < 1e-4:
        return f"{value:.10f}".rstrip("0") if abs(value) >= 1e-8 else f"{value:g}"
    return f"{value:,.6g}" if abs(value) >= 10000 else f"{value:.6g}"
