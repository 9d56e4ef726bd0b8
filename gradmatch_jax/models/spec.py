"""What a model takes: the shape and type of one input, known before there is a batch."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["images", "vectors", "tokens"]


class InputSpec(NamedTuple):
    """One input of a model, as its data set prepares it.

    shape: without the batch's axis: (height, width, channels) of an image, (length,) of a text
    dtype: the values' type by name: "float32", or "int32" for token ids
    vocabulary: how many token ids there are, the padding's 0 among them; 0 for what is no text
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary: int = 0

    @property
    def kind(self) -> Kind:
        """Token ids, images (three axes), or vectors (floats of any other shape)."""
        if self.vocabulary:
            return "tokens"
        return "images" if len(self.shape) == 3 else "vectors"
