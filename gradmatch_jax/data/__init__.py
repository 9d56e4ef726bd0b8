"""Data sets as uint8 arrays or streams. `augment`, which needs jax, is imported by its users."""

from gradmatch_jax.data.dataset import DATASET_NAMES, Dataset, load_dataset
from gradmatch_jax.data.splits import ImageSource, Split

__all__ = ["DATASET_NAMES", "Dataset", "ImageSource", "Split", "load_dataset"]
