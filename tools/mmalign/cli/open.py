"""`mmalign open`: an entry's paper, code, page or data in a browser."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from mmalign.characters import UNWANTED
from mmalign.cli import output
from mmalign.cli.arguments import Name, resolve


@click.command()
@click.argument("id_", type=Name(), metavar="ID")
@click.option("--paper", "what", flag_value="paper", help="Open the paper.")
@click.option("--code", "what", flag_value="code", help="Open the repository.")
@click.option("--page", "what", flag_value="page", help="Open the project's page.")
@click.option("--data", "what", flag_value="data", help="Open the place to download it from.")
@click.option("--print", "printed", is_flag=True, help="Write the address and open nothing.")
@click.pass_context
def open_(ctx: click.Context, id_: str, what: str | None, printed: bool) -> None:
    """Open the paper of an entry in a browser, or its code, page or data.

    Without an option: the paper, else the code, the page, the data. Where no browser can be opened,
    the address is written to stdout.
    """
    from mmalign.export.awesome import links_of

    catalogue = output.catalogue(ctx)
    ref = resolve(catalogue, id_)
    card = catalogue.card(ref)
    found = {} if card["kind"] == "term" else links_of({"paper": card, **card})
    links = {name: url for name, url in found.items() if is_web_address(url)}
    chosen = what or next(iter(links), None)
    if chosen is None or chosen not in links:
        has = f"; there is {', '.join(links)}" if links else ""
        raise click.ClickException(f"the record of {ref} names no {chosen or 'address'}{has}")
    url = links[chosen]
    if printed or not _shown(url):
        output.write(f"{url}\n")
        if not printed:
            output.note("no browser could be opened; this is the address")


def is_web_address(url: str) -> bool:
    """Is a text the address of a page of the web, and nothing that a browser would run?"""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = not UNWANTED.search(url) and " " not in url
    return parts.scheme in ("http", "https") and bool(parts.hostname) and plain


def _shown(url: str) -> bool:
    """Whether a browser took the address."""
    import webbrowser

    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
