"""Every table and figure of the paper by name, and ours beside them."""

from experiments.paper.exhibit import Exhibit
from experiments.paper.exhibits import ablations, accuracy, efficiency, energy, ours, repeated
from experiments.paper.exhibits import selections as selected
from experiments.paper.exhibits.data import TABLE1
from gradmatch_jax.errors import no_such

IN_ORDER: tuple[Exhibit, ...] = (
    TABLE1, accuracy.TABLE2, accuracy.TABLE3, accuracy.TABLE4, energy.TABLE5, repeated.TABLE6,
    repeated.TABLE7, selected.TABLE8, selected.TABLE9, accuracy.TABLE10, accuracy.TABLE11,
    efficiency.FIGURE1, efficiency.FIGURE3A, efficiency.FIGURE3B, efficiency.FIGURE3C,
    energy.FIGURE3D, efficiency.FIGURE3E, efficiency.FIGURE3F, efficiency.FIGURE3G,
    ablations.FIGURE4A, ablations.FIGURE4B, ablations.FIGURE4C, ablations.FIGURE4D,
    ablations.FIGURE4E, *ours.ALL,
)  # fmt: skip
EXHIBITS = {exhibit.name: exhibit for exhibit in IN_ORDER}


def find(name: str) -> Exhibit:
    """The exhibit of that name.

    Raises:
        UserError: there is none; the nearest is suggested.
    """
    if name not in EXHIBITS:
        raise no_such("table or figure", name, EXHIBITS)
    return EXHIBITS[name]
