"""One epoch of a run: a selection where the plan says so, then SGD, each on its own bill."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from gradmatch_jax.measure.clock import lap
from gradmatch_jax.strategies.check import check_answer
from gradmatch_jax.training.build import fresh_network
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.keys import epoch_keys
from gradmatch_jax.training.left import Left, Paused
from gradmatch_jax.training.passes import run_epoch
from gradmatch_jax.training.progress import progress
from gradmatch_jax.training.schedule import Bill, learning_rate
from gradmatch_jax.training.snapshot import describe, take_snapshot
from gradmatch_jax.training.state import Run, TrainState


def advance(
    run: Run, state: TrainState, left: Left | None, pause: Callable[[int], bool]
) -> tuple[TrainState, dict[str, Any] | Left]:
    """The next epoch of the plan: to its end, or to where `pause` says to leave it.

    Args:
        run: its fixed parts.
        state: before the epoch, or in its middle.
        left: what was left of it, where it is in its middle.
        pause: asked between its steps with their number.

    Returns:
        The state after it and its row of the log; or the state in its middle, and what to go on
        with.
    """
    index = int(state.epoch)
    epoch = run.plan[index]
    select_key, sgd_key = epoch_keys(run.key, index)
    row = {"epoch": index, "full": epoch.full, "proxy": epoch.network == "proxy"}
    if left is None:
        if epoch.select:
            state, row["selection"] = _select(run, state, select_key)
        row["lr"] = learning_rate(run.schedule, run.lr, progress(run, state, epoch))
    else:
        row = left.row
    learner = state.networks[epoch.network]
    if epoch.fresh and left is None:
        learner = fresh_network(run, epoch.network, index)
    chosen = examples_of(epoch, state.selection, len(run.train))
    with _billed(run, state, epoch.bill) as bill:
        try:
            learner, loss, seen = run_epoch(
                run.steps[epoch.network], learner, run.train, *chosen,
                batch_size=run.batch_size, lr=row["lr"], key=sgd_key, batching=epoch.batching,
                begun=None if left is None else left.begun, pause=pause,
                between=run.checkpoint_steps,
            )  # fmt: skip
        except Paused as paused:
            jax.block_until_ready(paused.learner)
            networks = {**state.networks, epoch.network: paused.learner}
            return bill()._replace(networks=networks), Left(paused.begun, row)
        strategy_state = state.strategy
        if epoch.network == run.scorer:  # scores are of one network's training
            strategy_state = run.strategy.observe(strategy_state, seen)
        jax.block_until_ready((learner, strategy_state))
    state = bill()._replace(
        networks={**state.networks, epoch.network: learner},
        strategy=strategy_state,
        epoch=index + 1,
    )
    row |= {"train_loss": loss, "examples": len(seen.indices), "joules": state.joules}
    row |= {f"{name}_seconds": value for name, value in state.times._asdict().items()}
    return state, row


def _select(run: Run, state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, Any]]:
    """A new selection; returns the state and what is logged of it."""
    before = float(state.times.selection)
    with _billed(run, state, "selection") as bill:
        answer = run.strategy.select(state.strategy, take_snapshot(run, state, key), key)
        answer = run.place.gathered(answer)
        jax.block_until_ready(answer)
    selection, strategy_state = check_answer(run.name, run.strategy, answer, len(run.train))
    state = bill()._replace(selection=selection, strategy=strategy_state)
    return state, describe(selection) | {"seconds": float(state.times.selection) - before}


@contextmanager
def _billed(run: Run, state: TrainState, bill: Bill) -> Iterator[Callable[[], TrainState]]:
    """Time a block and meter it; the answer, once it is done, is the state that has paid for it."""
    start = run.meter.read()
    with lap() as read:

        def paid() -> TrainState:
            spent, times = read(), state.times
            times = times._replace(**{bill: getattr(times, bill) + spent.work})
            times = times._replace(compile=times.compile + spent.compile)
            return state._replace(times=times, joules=state.joules + run.meter.since(start))

        yield paid
