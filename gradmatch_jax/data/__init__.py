"""Data sets as arrays or streams. JAX is imported when a batch is prepared, not before."""

from gradmatch_jax.data.catalogue import DATASET_NAMES, load_dataset
from gradmatch_jax.data.dataset import Dataset
from gradmatch_jax.data.prepare import ImagePrepare, Prepare, Standardise, Tokens
from gradmatch_jax.data.splits import InputSource, Split

__all__ = [
    "DATASET_NAMES",
    "Dataset",
    "ImagePrepare",
    "InputSource",
    "Prepare",
    "Split",
    "Standardise",
    "Tokens",
    "load_dataset",
]
