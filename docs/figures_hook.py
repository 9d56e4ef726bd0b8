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


def on_page_markdown(markdown: str, **_: Any) -> str:
    """As the repository links to them, from docs/: on the site they are beside the pages."""
    return markdown.replace(f"](../{FOLDER}/", f"]({FOLDER}/")
