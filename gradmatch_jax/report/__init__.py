"""report.html: a comparison as one page that needs nothing but itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradmatch_jax.training.files import write_text

if TYPE_CHECKING:
    from gradmatch_jax.report.gallery import Gallery
    from gradmatch_jax.report.summary import About


def write_report(
    path: Path,
    rows: Sequence[dict[str, Any]],
    galleries: "Sequence[Gallery]" = (),
    about: "About | None" = None,
) -> None:
    """Write the page for the runs `rows`, as `compare` returns them, to `path`.

    The same input writes the same bytes. Nothing is loaded from outside the page; it links to the
    runs' folders, which stand beside it.

    Raises:
        UserError: there are no runs of `full` to compare with.
    """
    from gradmatch_jax.report.page import page  # matplotlib: too slow for the command line's help

    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page(rows, galleries, about))
