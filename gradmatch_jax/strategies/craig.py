"""CRAIG, whole or by mini-batches, and facility location on features."""

from gradmatch_jax.selection.coreset import select_coreset, select_coreset_batches
from gradmatch_jax.selection.groups import partition
from gradmatch_jax.selection.result import unweighted
from gradmatch_jax.strategies.strategy import Strategy, Task, stateless


def craig(task: Task) -> Strategy:
    """Per class, on the whole last-layer gradient (Mirzasoleiman et al. 2020).

    A weight is the number of examples the chosen one stands for. Once most examples are learnt
    their gradients are all near zero, one of them stands for nearly the whole class, and at mean 1
    its weight is in the dozens: steps that long diverge (MNIST at 1 %, lr 0.01). So weights are
    relative to their mini-batch's, as in the implementation that the paper's figures are from.
    """
    groups = partition(task.labels, task.budget, task.num_classes)

    def select(state, snapshot, key):
        del key
        assert snapshot.train is not None
        return select_coreset(snapshot.train.gradients, task.budget, labels=groups), state

    return Strategy(stateless, select, needs=("train",), weighting="batch")


def craig_pb(task: Task, *, batch_size: int = 20) -> Strategy:
    """Mini-batch means as atoms, drawn anew at each selection (GRAD-MATCH's CRAIGPB).

    Weights relative to the mini-batch's, for `craig`'s reason: one batch comes to stand for most of
    the others, and at mean 1 its members' weights stop the training (MNIST at 5 %, seed 0: the loss
    stays at log 10 from the second selection on).
    """

    def select(state, snapshot, key):
        assert snapshot.train is not None
        selection = select_coreset_batches(
            snapshot.train.gradients, task.budget, batch_size, key=key
        )
        return selection, state

    return Strategy(stateless, select, needs=("train",), weighting="batch")


def facility_location(task: Task) -> Strategy:
    """Per class, on the features that enter the last layer, unweighted.

    As Coleman et al. 2020 ("Selection via Proxy") use it: the features are a trained proxy's.
    """
    groups = partition(task.labels, task.budget, task.num_classes)

    def select(state, snapshot, key):
        del key
        assert snapshot.train is not None
        chosen = select_coreset(snapshot.train.features, task.budget, labels=groups)
        return unweighted(chosen.indices), state

    return Strategy(stateless, select, needs=("train",))
