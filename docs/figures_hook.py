"""mkdocs: the figures of results/ belong to the site, where they lie."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = "results/figures"
ROOT = Path(__file__).resolve().parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Every figure is a file of the site."""
    for figure in sorted((ROOT / FOLDER).glob("*.svg")):
        files.append(File.generated(config, f"{FOLDER}/{figure.name}", abs_src_path=str(figure)))
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """The repository's links to them, seen from docs/, as the site's, seen from the page."""
    up = "../" * page.url.count("/")
    return html.replace(f'"../{FOLDER}/', f'"{up}{FOLDER}/')
