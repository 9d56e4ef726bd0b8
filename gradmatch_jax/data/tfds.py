"""The sets as TensorFlow Datasets prepared them (array_record files), read without TensorFlow."""

import importlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from gradmatch_jax.data.checks import make_split
from gradmatch_jax.data.files import one_line, require_dir
from gradmatch_jax.data.images import Squares, decode_squares, opened, raw_side, require_pillow
from gradmatch_jax.data.splits import Parts, Split
from gradmatch_jax.errors import UserError

_STREAMED = "imagenet2012"  # the others fit in memory
_CHUNK = 1024  # records read at once


@dataclass(frozen=True)
class TfdsImages(Squares):
    """The pictures of a `tfds.data_source` (undecoded) as an `InputSource`."""

    records: Any

    def __len__(self) -> int:
        return len(self.records)

    def take(self, indices: Int[np.ndarray, " b"]) -> UInt8[np.ndarray, "b h w c"]:
        """Read, decode, resize and crop the records at `indices`, in that order.

        Raises:
          UserError: if a record's picture is damaged.
        """
        rows = [int(index) for index in indices]
        files = [io.BytesIO(record["image"]) for record in _fetch(self.records, rows)]
        names = [f"record {row} of {self.records!r}" for row in rows]
        return decode_squares(files, names, self.size)


def read_tfds(tfds_name: str, data_dir: Path | None, image_size: int) -> Parts:
    """Read the splits of `tfds_name` that TFDS prepared in `data_dir` (None: its default folder).

    Small sets are decoded into memory in the order TFDS stored them. ImageNet is a stream of
    squares for crops of `image_size`, its validation split the test set as in the paper; its labels
    take one pass over all records.

    Raises:
      UserError: if the packages or the prepared files are missing, or damaged.
    """
    splits = ["train", "validation" if tfds_name == _STREAMED else "test"]
    train, test = _open(tfds_name, data_dir, splits)

    def split(records: Any, part: str) -> Split:
        where = f"{tfds_name} {part}"
        if tfds_name == _STREAMED:
            labels = [record["label"] for record in _chunked(records)]
            return make_split(where, TfdsImages(raw_side(image_size), records), np.asarray(labels))
        return _in_memory(where, records)

    try:
        names = tuple(train.dataset_info.features["label"].names)
        return Parts(split(train, splits[0]), split(test, splits[1]), class_names=names)
    except UserError:
        raise
    except Exception as error:  # other features than the set's own
        raise UserError(
            f"what tfds prepared of {tfds_name} is unfit ({one_line(error)}); prepare it again"
        ) from error


def _open(tfds_name: str, data_dir: Path | None, splits: list[str]) -> list[Any]:
    require_pillow()
    try:
        tfds = importlib.import_module("tensorflow_datasets")
        # tfds itself would miss this one only on reading
        importlib.import_module("array_record.python.array_record_data_source")
    except ImportError as error:
        raise UserError(
            f"reader tfds needs {error.name}: pip install 'gradmatch-jax[tfds]'"
        ) from error
    if data_dir is not None:
        require_dir(data_dir, f"what `tfds build {tfds_name} --file_format=array_record` prepared")
    try:
        return tfds.data_source(
            tfds_name,
            split=splits,
            data_dir=data_dir,
            download=False,
            decoders={"image": tfds.decode.SkipDecoding()},
        )
    except Exception as error:  # tfds has a type, and a page of text, for each way to lack data
        where = data_dir or "its default folder"
        option = f" --data_dir={data_dir}" if data_dir else ""
        raise UserError(
            f"tfds has no {tfds_name} prepared as array_record in {where}: "
            f"run tfds build {tfds_name} --file_format=array_record{option}"
        ) from error


def _chunked(records: Any) -> Iterator[dict[str, Any]]:
    for start in range(0, len(records), _CHUNK):
        yield from _fetch(records, list(range(start, min(start + _CHUNK, len(records)))))


def _fetch(records: Any, rows: list[int]) -> Sequence[dict[str, Any]]:
    try:
        return records.__getitems__(rows)
    except Exception as error:  # array_record has types of its own for damaged files
        raise UserError(
            f"cannot read {records!r}: {one_line(error)}; prepare it again with tfds build"
        ) from error


def _in_memory(where: str, records: Any) -> Split:
    images, labels = [], []
    for row, record in enumerate(_chunked(records)):
        with opened(io.BytesIO(record["image"]), f"record {row} of {where}") as image:
            images.append(np.asarray(image, np.uint8))
        labels.append(record["label"])
    return make_split(where, np.stack(images), np.asarray(labels))
