"""A model for texts: the mean of its words' embeddings, and one hidden layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from gradmatch_jax.models.layers import classify, compute_dtype, linear
from gradmatch_jax.models.model import Model, from_nnx
from gradmatch_jax.models.spec import InputSpec

WIDTH, HIDDEN = 64, 128


class EmbeddingBag(nnx.Module):
    """mean of 64-dimensional word embeddings - 128 (ReLU) - classes; 128 features.

    The mean is over the tokens that are not padding (0); a text without any has the mean 0. The
    embeddings start from N(0, 1), as PyTorch's do.
    """

    def __init__(self, vocabulary: int, num_classes: int, rngs: nnx.Rngs, *, dtype):
        normal = nnx.initializers.normal(1.0)
        self.words = nnx.Embed(vocabulary, WIDTH, embedding_init=normal, dtype=dtype, rngs=rngs)
        self.hidden = linear(WIDTH, HIDDEN, rngs, dtype)
        self.head = linear(HIDDEN, num_classes, rngs)

    def __call__(self, tokens: Int[Array, "b length"]) -> tuple[Float[Array, "b classes"], Array]:
        """(logits, features) of token ids (b, length)."""
        present = (tokens != 0)[:, :, None]
        words = jnp.where(present, self.words(tokens), 0)
        count = jnp.maximum(jnp.sum(present, axis=1, dtype=words.dtype), 1)
        return classify(self.head, jax.nn.relu(self.hidden(jnp.sum(words, axis=1) / count)))


def embedding_bag(spec: InputSpec, num_classes: int, *, bf16: bool = False) -> Model:
    """Embedding bag; 64 parameters a word and 8,320 + 129 a class."""
    dtype = compute_dtype(bf16)
    return from_nnx(
        "embedding-bag",
        lambda rngs: EmbeddingBag(spec.vocabulary, num_classes, rngs, dtype=dtype),
    )
