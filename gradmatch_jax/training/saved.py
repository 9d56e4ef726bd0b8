"""`load_run`: a run's folder as something to look at, to predict with, and to take away."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int64

from gradmatch_jax.data import Dataset, Split
from gradmatch_jax.data.checks import check_alike, make_split
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.data.words import encode, split_words
from gradmatch_jax.errors import UserError, explained
from gradmatch_jax.inputs.arrays import ArrayLike, as_array
from gradmatch_jax.inputs.values import as_path, check_literal
from gradmatch_jax.models.model import Model, Variables
from gradmatch_jax.strategies.records import cross_entropies
from gradmatch_jax.training import checkpoints
from gradmatch_jax.training.build import load
from gradmatch_jax.training.config import CONFIG, TrainConfig
from gradmatch_jax.training.feed import Feed
from gradmatch_jax.training.files import read_json, replacing
from gradmatch_jax.training.folder import RESULT, SELECTION, read_log
from gradmatch_jax.training.network import Network, network_of, read_network
from gradmatch_jax.training.passes import collect, evaluate
from gradmatch_jax.training.plain import is_key, with_keys
from gradmatch_jax.training.steps import Steps, steps_of

SPLITS = ("train", "validation", "test")


class Chosen(NamedTuple):
    """A selection of a run: rows as the data were handed over, weights as its method gave them."""

    epoch: int
    rows: Int64[np.ndarray, "k"]
    weights: Float32[np.ndarray, "k"]


@dataclass(frozen=True)
class SavedRun:
    """What a run's folder holds.

    config: what was run. history: a row an epoch. result: None where it has not ended.
    variables: the network's, of the newest whole checkpoint.
    """

    path: Path
    config: TrainConfig
    history: list[dict[str, Any]]
    result: dict[str, Any] | None
    variables: Variables
    network: Network
    model: Model
    dataset: Dataset | None = None

    @functools.cached_property
    def selections(self) -> list[Chosen]:
        """Every selection of a finished run, in order.

        Raises:
            UserError: the run has not ended.
        """
        file = self.path / SELECTION
        if not file.is_file():
            raise UserError(f"{self.path} has no {SELECTION}: the run has not ended")
        names = ("history_epochs", "history_indices", "history_weights")
        arrays = read_arrays(file, str(file), names)
        epochs, rows, weights = (arrays[name] for name in names)
        return [
            Chosen(int(epoch), rows[epochs == epoch].astype(np.int64), weights[epochs == epoch])
            for epoch in np.unique(epochs)
        ]

    def predict(self, x: ArrayLike | Sequence[str]) -> Float[np.ndarray, "n C"]:
        """Logits of inputs as the data set has them before they are prepared.

        Args:
            x: (n, ...) images, rows or token ids; or texts, where the run was trained on texts.

        Returns:
            (n, C); the largest of a row is its class, softmax of them the probabilities.

        Raises:
            UserError: inputs of another shape or type; a run whose preparation is your own, without
                dataset=.
        """
        split = self._split_of(x)
        return np.asarray(collect(self._steps, self.variables, Feed(split))[0])

    def evaluate(self, split: str = "test") -> float:
        """Accuracy in percent on a split of the run's data: "train", "validation" or "test".

        Raises:
            UserError: no such split; data that cannot be read, or are other data.
        """
        check_literal("split", split, SPLITS)
        part: Split = getattr(
            self.dataset or load(dataclasses.replace(self.config, like=None)), split
        )
        check_alike(f"split {split}", part, self.network.shape, np.dtype(self.network.dtype))
        return evaluate(self._steps, self.variables, Feed(part))

    def parameters(self) -> dict[str, np.ndarray]:
        """Every array of the network by its path, "conv1.kernel": parameters, then statistics."""
        named = {}
        for tree in self.variables:
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
                if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                    keys = (str(getattr(part, "key", getattr(part, "idx", part))) for part in path)
                    named[".".join(keys)] = np.asarray(leaf)
        return named

    def export(self, file: Path | str) -> None:
        """Write `parameters` as safetensors, which PyTorch and others read (extra safetensors).

        Kernels are laid out as Flax has them: (in, out) of a dense layer, (h, w, in, out) of a
        convolution.

        Raises:
            UserError: the package is missing, or the file cannot be written.
        """
        path = as_path("file", file)
        try:
            from safetensors.numpy import save
        except ImportError as error:
            raise UserError("safetensors is missing: pip install safetensors") from error
        facts = {"model": self.network.model, "strategy": self.config.strategy}
        content = save(self.parameters(), metadata=facts)
        with explained(str(path)), replacing(path) as stream:
            stream.write(content)

    @functools.cached_property
    def _steps(self) -> Steps:
        prepare = self.network.prepare if self.dataset is None else self.dataset.prepare
        if prepare is None:
            raise UserError(f"{self.path}: its inputs are prepared by your own: pass dataset=")
        return steps_of(self.model, prepare, 0.0, 0.0, False, cross_entropies)

    def _split_of(self, x: Any) -> Split:
        if isinstance(x, Sequence) and len(x) and all(isinstance(text, str) for text in x):
            if not self.network.vocabulary:
                raise UserError("x are texts, and the run was trained on arrays")
            words = [split_words(text) for text in x]
            x = encode(words, self.network.vocabulary, self.network.shape[0])
        array = np.asarray(as_array("x", x))
        split = make_split("x", array, np.zeros(len(array) if array.ndim else 0, np.int32))
        check_alike("x", split, self.network.shape, np.dtype(self.network.dtype))
        return split


def load_run(
    path: Path | str, *, dataset: Dataset | None = None, model: Model | None = None
) -> SavedRun:
    """Open the folder of a run, `train`'s out, to look at it and to use its network.

    Args:
        path: the folder.
        dataset: the data it was trained on, where they were handed over in Python.
        model: its network, likewise.

    Returns:
        The configuration, history, result, selections and variables; `.predict(x)`,
        `.evaluate(split)`, `.export(file)`.

    Raises:
        UserError: no run is there, it has no whole checkpoint yet, or its model is your own and was
            not passed.

    Example:
        >>> import tempfile
        >>> from gradmatch_jax.training.loop import train
        >>> out = tempfile.mkdtemp()
        >>> config = TrainConfig(strategy="random", fraction=0.1, epochs=2, model="logistic")
        >>> summary = train(config, out).summary
        >>> load_run(out).evaluate("test") == summary["test_accuracy"]
        True
    """
    path = as_path("path", path)
    config, found = read_json(path / CONFIG), checkpoints.newest(path / "checkpoints")
    if config is None:
        raise UserError(f"{path} holds no run: there is no whole {CONFIG}")
    if found is None:
        raise UserError(f"{path} has no whole checkpoint; run its `train` command to the end")
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    settings = {k: v for k, v in config.items() if k in known}
    for name in ("data_dir", "like"):
        settings |= {name: Path(settings[name])} if settings.get(name) else {}
    if dataset is None:
        network = read_network(path)
    else:
        name = str(settings.get("model") if model is None else model.name)
        network = network_of(dataset, name, bool(settings.get("bf16", False)))
    trained = jax.tree.map(jnp.asarray, checkpoints.read(found)["networks"]["model"]["variables"])
    model = network.build() if model is None else model
    like = jax.eval_shape(model.init, jax.random.key(0)).stats
    if any(map(is_key, jax.tree.leaves(like))):  # dropout's, say
        trained["stats"] = with_keys(trained["stats"], like)
    return SavedRun(
        path=path,
        config=TrainConfig(**settings),
        history=read_log(path),
        result=read_json(path / RESULT),
        variables=Variables(trained["params"], trained["stats"]),
        network=network,
        model=model,
        dataset=dataset,
    )
