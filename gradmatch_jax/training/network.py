"""network.json: what a run's network takes and gives, so that it serves without the data."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradmatch_jax.data import Dataset, prepare
from gradmatch_jax.data.prepare import Prepare
from gradmatch_jax.errors import UserError
from gradmatch_jax.models import build_model, model_names
from gradmatch_jax.models.model import Model
from gradmatch_jax.models.spec import InputSpec
from gradmatch_jax.training.feed import input_spec
from gradmatch_jax.training.files import read_json, write_json

NETWORK = "network.json"
# How raw inputs become the model's, where it is not the user's own.
PREPARES = {
    kind.__name__: kind for kind in (prepare.ImagePrepare, prepare.Standardise, prepare.Tokens)
}


class Network(NamedTuple):
    """A network from outside: its name, what it is given and what its outputs mean.

    prepare: None where it is the user's own function.
    """

    model: str
    bf16: bool
    num_classes: int
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    shape: tuple[int, ...]  # of one raw input
    dtype: str
    spec: InputSpec  # of one input as the model takes it
    prepare: Prepare | None

    def build(self) -> Model:
        """The bundled model of that name.

        Raises:
            UserError: there is none: it is the user's own.
        """
        if self.model not in model_names():
            raise UserError(f"the run's model {self.model!r} is your own: load_run(.., model=it)")
        return build_model(self.model, self.spec, self.num_classes, bf16=self.bf16)


def network_of(dataset: Dataset, model: str, bf16: bool) -> Network:
    """What a run on a data set trains."""
    return Network(
        model,
        bf16,
        dataset.num_classes,
        tuple(dataset.class_names),
        tuple(dataset.vocabulary),
        tuple(dataset.train.shape),
        np.dtype(dataset.train.dtype).name,
        input_spec(dataset),
        dataset.prepare,
    )


def write_network(folder: Path, network: Network) -> None:
    """Write network.json, unless it is there."""
    if (folder / NETWORK).exists():
        return
    made, kind = None, type(network.prepare).__name__
    if PREPARES.get(kind) is type(network.prepare):
        made = {"kind": kind} | dataclasses.asdict(network.prepare)  # type: ignore[arg-type]
    record = network._asdict() | {"spec": network.spec._asdict(), "prepare": made}
    write_json(folder / NETWORK, record)


def read_network(folder: Path) -> Network:
    """The network of a run's folder.

    Raises:
        UserError: the file is missing or damaged.
    """
    record: Any = read_json(folder / NETWORK)
    if record is None:
        raise UserError(
            f"{folder} has no whole {NETWORK}: pass load_run(.., dataset=), or give the same "
            "`train` command once more, which writes it"
        )
    try:
        made = record["prepare"]
        own = None
        if made is not None:
            fields = {k: _plain(v) for k, v in made.items() if k != "kind"}
            own = PREPARES[made["kind"]](**fields)
        spec = InputSpec(*(_plain(record["spec"][name]) for name in InputSpec._fields))
        values = {name: _plain(record[name]) for name in Network._fields}
        return Network(**values | {"spec": spec, "prepare": own})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / NETWORK} is damaged ({error})") from error


def _plain(value: Any) -> Any:
    """Lists as tuples, which are hashable."""
    return tuple(_plain(v) for v in value) if isinstance(value, list) else value
