"""mkdocs: the figures of results/ belong to the site, where they lie; tables fit a phone."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = "results/figures"
ROOT = Path(__file__).resolve().parents[1]
MANY = 4  # columns: of so many, style.css makes a card of a row where there is no room


def on_files(files: Files, config: Any) -> Files:
    """Every figure is a file of the site."""
    for figure in sorted((ROOT / FOLDER).glob("*.svg")):
        files.append(File.generated(config, f"{FOLDER}/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The repository's links to them, seen from docs/, as the site's, from the page; tables."""
    up = "../" * page.url.count("/")
    html = html.replace(f'"../{FOLDER}/', f'"{up}{FOLDER}/')
    return re.sub(r"<table>.*?</table>", lambda found: labelled(found[0]), html, flags=re.DOTALL)


def labelled(table: str) -> str:
    """A table whose cells know their column's heading, as a card shows it."""
    headings = [re.sub("<[^>]*>", "", h) for h in re.findall(r"<th[^>]*>(.*?)</th>", table)]
    if len(headings) < MANY:
        return table

    def row(found: re.Match[str]) -> str:
        names = iter(headings)
        return re.sub(r"<td", lambda _: f'<td data-label="{next(names)}"', found[0])

    body = re.sub(r"<tr>\s*<td.*?</tr>", row, table, flags=re.DOTALL)
    return body.replace("<table>", '<table class="cards">', 1)
