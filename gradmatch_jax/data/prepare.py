"""From a split's raw inputs to what a model takes: pure, hashable functions of a batch.

JAX is imported when a batch is prepared, so that listing data sets does not wait for it.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped, UInt8

# Inside a compiled program they are arrays of it: see `apart`.
if TYPE_CHECKING:
    Numbers = tuple[float, ...]
else:
    Numbers = Any


@runtime_checkable
class Prepare(Protocol):
    """`prepare(key, raw)`: a batch of raw inputs (b, ...) as the model's inputs (b, ...).

    With a key it is a training batch, which may be augmented at random by that key alone; with
    None it is one to evaluate, and each row's answer depends on that row alone. It is traced by
    JAX: pure, and equal (and hashed alike) where it does the same, so that what was compiled for
    it serves again. A frozen dataclass of plain values is both; so is a module's function. A
    dataclass that names fields of numbers in `NUMBERS` is handed them as arrays, and what was
    compiled for it serves any others: each seed's split has its own mean.
    """

    def __call__(self, key: Any, raw: Any) -> Any:
        """Return the model's inputs; `key` is a PRNG key or None, `raw` and the answer arrays."""
        ...


@dataclass(frozen=True)
class ImagePrepare:
    """Crop and mirror at random (training), then (pixels - mean) / std, channel by channel.

    uint8 pixels are divided by 255 first; float images are taken as they are.

    mean, std: per channel, of pixels in [0, 1] (uint8) or of the values themselves (float)
    crop_padding: pixels of zero padding for random crops; 0 where the field does not crop
    flip: whether the field mirrors this set's images at random
    side: of what the model takes, where the pictures are read larger: training cuts a random box
      and resizes it, evaluation takes the middle; 0 where they come as they are
    """

    NUMBERS: ClassVar[tuple[str, ...]] = ("mean", "std")

    mean: Numbers
    std: Numbers
    crop_padding: int = 0
    flip: bool = False
    side: int = 0

    def __call__(self, key: Any, raw: Any) -> Any:
        """Return float32 (b, h, w, c), augmented where there is a key."""
        from gradmatch_jax.data.augment import augment, centre_crop, normalise

        if key is not None:
            raw = augment(key, raw, crop_padding=self.crop_padding, flip=self.flip, side=self.side)
        elif self.side:
            raw = centre_crop(raw, self.side)
        return normalise(raw, self.mean, self.std)


@dataclass(frozen=True)
class Standardise:
    """(x - mean) / std along the last axis: tabular rows, or anything else of floats.

    mean, std: one value for each index of the last axis
    """

    NUMBERS: ClassVar[tuple[str, ...]] = ("mean", "std")

    mean: Numbers
    std: Numbers

    def __call__(self, key: Any, raw: Any) -> Any:
        """Return float32 of `raw`'s shape; nothing is random."""
        import jax.numpy as jnp

        axes = (1,) * (raw.ndim - 1)
        mean = jnp.asarray(self.mean, jnp.float32).reshape(*axes, -1)
        std = jnp.asarray(self.std, jnp.float32).reshape(*axes, -1)
        return (raw.astype(jnp.float32) - mean) / std


@dataclass(frozen=True)
class Tokens:
    """Token ids (b, length) as they are; 0 is padding."""

    def __call__(self, key: Any, raw: Any) -> Any:
        """Return `raw`; nothing is random."""
        return raw


def apart(prepare: Prepare) -> tuple[Prepare, dict[str, np.ndarray]]:
    """Return a `Prepare` without its numbers, and these: what two of one data set's splits share.

    >>> one, numbers = apart(Standardise((1.0,), (2.0,)))
    >>> one == apart(Standardise((3.0,), (4.0,)))[0], together(one, numbers).mean.tolist()
    (True, [1.0])
    """
    names = getattr(prepare, "NUMBERS", ())
    numbers = {name: np.asarray(getattr(prepare, name), np.float32) for name in names}
    return _with(prepare, dict.fromkeys(names, ())), numbers


def together(prepare: Prepare, numbers: dict[str, Any]) -> Prepare:
    """Return the `Prepare` that `apart` took apart, its numbers arrays of any library."""
    return _with(prepare, numbers)


def _with(prepare: Prepare, changes: dict[str, Any]) -> Prepare:
    return dataclasses.replace(prepare, **changes) if changes else prepare  # type: ignore[type-var]


def pixel_statistics(
    images: UInt8[np.ndarray, "n h w c"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, of pixels in [0, 1].

    Exact, from counts of the 256 values. A constant channel gets std 1, to be divided by.
    """
    values = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        mean = float(counts @ values / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt(counts @ (values - mean) ** 2 / counts.sum())) or 1.0)
    return tuple(means), tuple(deviations)


def value_statistics(
    x: Float[np.ndarray, "n *shape d"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation over all but the last axis.

    What does not vary, to the precision of a float32, gets std 1, to be divided by.
    """
    axes = tuple(range(x.ndim - 1))
    mean = np.asarray(np.mean(x, axes, dtype=np.float64))
    std = np.asarray(np.std(x, axes, dtype=np.float64))
    std[std <= 1e-6 * np.abs(mean)] = 1.0  # a constant column's rounding is no signal
    std[std == 0] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())


def fitted(x: Shaped[np.ndarray, "n ..."]) -> Prepare:
    """The `Prepare` that suits a training array, with that array's own statistics.

    uint8 and float images (n, h, w, c): `ImagePrepare` without augmentation; ids (int32):
    `Tokens`; other floats: `Standardise`.
    """
    if x.dtype == np.uint8:
        return ImagePrepare(*pixel_statistics(x))
    if x.dtype.kind == "i":
        return Tokens()
    return ImagePrepare(*value_statistics(x)) if x.ndim == 4 else Standardise(*value_statistics(x))
