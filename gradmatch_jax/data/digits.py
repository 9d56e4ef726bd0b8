"""Handwritten digits, 8x8, carried inside the package: real data with nothing to download.

The 1,797 images of scikit-learn's `load_digits`, which are the test set of the UCI
"Optical Recognition of Handwritten Digits" data (E. Alpaydin and C. Kaynak, 1998,
https://doi.org/10.24432/C50P49), licensed CC BY 4.0. Changed here: the intensities 0..16 are
scaled to round(255 x / 16) and stored as uint8.
"""

from importlib import resources

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.npy import read_arrays
from gradmatch_jax.data.splits import Parts


def read_digits() -> Parts:
    """Return all 1,797 images (8, 8, 1) in their original order; there is no test split."""
    with (resources.files("gradmatch_jax.data") / "digits.npz").open("rb") as file:
        stored = read_arrays(file, "the package's digits.npz", ("images", "labels"))
        return Parts(make_split("digits", stored["images"], stored["labels"]), test=None)
