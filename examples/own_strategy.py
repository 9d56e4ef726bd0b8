"""A selection strategy of your own, beside those that come with the library.

    python examples/own_strategy.py

A strategy is a function of the task (labels, number of classes, budget), with keywords of its own
where it likes, and answers with pure functions. This one trains on the examples of largest loss;
`needs` says that it reads a pass over the training set, which the driver makes when it is time to
select.
"""

import jax.numpy as jnp
import optax

from gradmatch_jax import Entry, Strategy, TrainConfig, register, stateless, train, unweighted


def hardest(task):
    """The k examples of largest loss, weight 1."""

    def select(state, snapshot, key):
        logits, _, labels = snapshot.train
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return unweighted(jnp.argsort(-losses)[: task.budget].astype(jnp.int32)), state

    return Strategy(init=stateless, select=select, needs=("train",))


register("hardest", Entry(hardest, "interval", "the examples of largest loss", "an example"))


def main() -> dict[str, float]:
    """Train on a tenth of digits with it and with others; returns the test accuracies."""
    names = ("hardest", "hardest-warm", "adaptive-random", "gradmatch-warm")
    found = {}
    for name in names:
        result = train(TrainConfig(dataset="digits", strategy=name, fraction=0.1, epochs=60))
        found[name] = result.summary["test_accuracy"]
        print(f"{name:16s} {found[name]:.1f} %")
    return found


if __name__ == "__main__":
    main()
