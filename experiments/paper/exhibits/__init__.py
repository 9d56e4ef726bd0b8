"""Every table and figure of the paper by name, and ours beside them."""

from experiments.paper.exhibit import Exhibit
from experiments.paper.exhibits import ours
from experiments.paper.exhibits.figure1 import FIGURE1
from experiments.paper.exhibits.figure3a import FIGURE3A
from experiments.paper.exhibits.figure3b import FIGURE3B
from experiments.paper.exhibits.figure3c import FIGURE3C
from experiments.paper.exhibits.figure3d import FIGURE3D
from experiments.paper.exhibits.figure3e import FIGURE3E
from experiments.paper.exhibits.figure3f import FIGURE3F
from experiments.paper.exhibits.figure3g import FIGURE3G
from experiments.paper.exhibits.figure4a import FIGURE4A
from experiments.paper.exhibits.figure4b import FIGURE4B
from experiments.paper.exhibits.figure4c import FIGURE4C
from experiments.paper.exhibits.figure4d import FIGURE4D
from experiments.paper.exhibits.figure4e import FIGURE4E
from experiments.paper.exhibits.table1 import TABLE1
from experiments.paper.exhibits.table2 import TABLE2
from experiments.paper.exhibits.table3 import TABLE3
from experiments.paper.exhibits.table4 import TABLE4
from experiments.paper.exhibits.table5 import TABLE5
from experiments.paper.exhibits.table6 import TABLE6
from experiments.paper.exhibits.table7 import TABLE7
from experiments.paper.exhibits.table8 import TABLE8
from experiments.paper.exhibits.table9 import TABLE9
from experiments.paper.exhibits.table10 import TABLE10
from experiments.paper.exhibits.table11 import TABLE11
from gradmatch_jax.errors import no_such

IN_ORDER: tuple[Exhibit, ...] = (
    TABLE1, TABLE2, TABLE3, TABLE4, TABLE5, TABLE6, TABLE7, TABLE8, TABLE9, TABLE10, TABLE11,
    FIGURE1, FIGURE3A, FIGURE3B, FIGURE3C, FIGURE3D, FIGURE3E, FIGURE3F, FIGURE3G, FIGURE4A,
    FIGURE4B, FIGURE4C, FIGURE4D, FIGURE4E, *ours.ALL,
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
