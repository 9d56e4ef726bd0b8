"""What a strategy may remember of each example it trains on, from inside the step, at no cost.

Functions of a mini-batch's logits, features and labels, as `Strategy.record` wants them.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from gradmatch_jax.gradients import last_layer_gradients
from gradmatch_jax.strategies.strategy import Recorded


def cross_entropies(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """The losses l_i, unweighted."""
    del features
    return {"losses": optax.softmax_cross_entropy_with_integer_labels(logits, labels)}


def correctness(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """Whether the largest logit is the label's."""
    del features
    return {"correct": jnp.argmax(logits, axis=1) == labels}


def residual_norms(
    logits: Float[Array, "b C"], features: Float[Array, "b E"], labels: Int[Array, "b"]
) -> Recorded:
    """The norms ‖softmax(z_i) - onehot(y_i)‖, EL2N's score."""
    residuals = last_layer_gradients(jax.lax.stop_gradient(logits), features, labels).residuals
    return {"residual_norms": jnp.linalg.norm(residuals, axis=1)}
