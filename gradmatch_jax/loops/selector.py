"""`Selector`: a strategy, its plan and its state, for a training loop of one's own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.arrays import ArrayLike, as_key
from gradmatch_jax.inputs.labels import as_indices
from gradmatch_jax.inputs.values import (
    SEED,
    SHARE,
    as_budget,
    as_count,
    as_flag,
    as_number,
    as_whole,
    short,
)
from gradmatch_jax.loops import looks
from gradmatch_jax.loops.memory import Memory, packed, unpacked
from gradmatch_jax.loops.rhythm import Rhythm, rhythm_of
from gradmatch_jax.loops.settings import entry_of, scaled_as_asked, settings_of
from gradmatch_jax.loops.targets import targets_of, validation_targets
from gradmatch_jax.losses import Loss, check_loss
from gradmatch_jax.selection.result import Selection, empty_selection
from gradmatch_jax.strategies.check import OwnStrategy, check_answer
from gradmatch_jax.strategies.pool import build_pooled
from gradmatch_jax.strategies.strategy import Strategy, Task
from gradmatch_jax.training.examples import examples_of
from gradmatch_jax.training.keys import epoch_keys, first_keys


class Selector:
    """Which rows an epoch trains on and with what weights, in a loop of any framework.

    It keeps the strategy's state and the last selection, and asks for a forward pass only when a
    selection is due. Rows and weights are those of `train` with the same settings and seed.

    Example:
        >>> y = [0, 1] * 50
        >>> selector = Selector("gradmatch", fraction=0.1, labels=y, every=20)
        >>> def forward():  # of your network: every training example, in order, evaluation mode
        ...     logits = features = np.random.default_rng(0).normal(size=(100, 2))
        ...     return logits, features
        >>> rows, weights = selector(0, forward)  # before epoch 0; then train on mean(w_i l_i)
        >>> len(rows), round(float(weights.mean()), 6)
        (10, 1.0)
    """

    def __init__(
        self,
        strategy: str | OwnStrategy | Any = "gradmatch",
        *,
        labels: ArrayLike,
        forward: Any = None,
        fraction: float | None = None,
        budget: int | None = None,
        every: int = 20,
        epochs: int | None = None,
        warm: bool = False,
        kappa: float = 0.5,
        tail: float = 0.125,
        proxy_epochs: int | None = None,
        pool: float = 1.0,
        weighting: str = "own",
        seed: int = 0,
        loss: Loss | str = "softmax",
        label_smoothing: float = 0.0,
        groups: ArrayLike | int | None = None,
        num_classes: int | None = None,
        validation_labels: ArrayLike | None = None,
        **settings: Any,
    ):
        """Decide everything but what the network says.

        Args:
            strategy: a name that `gradmatch-jax strategies` lists, "-warm" after it or not, or one
                of your own: a registry entry, a function of the task, or a `Strategy`.
            labels: (n,), one a training example: classes, or what `loss` takes.
            forward: what a call without one asks for a pass.
            fraction: k/n, the share of the examples to train on.
            budget: k itself, in its place; n at most.
            every: R, epochs between selections, where the strategy selects at intervals.
            epochs: T. Needed where the plan depends on it: warm starts, full-earlystop, InfoBatch's
                last epochs. `selector.epochs` says how many the plan comes to.
            warm: start with kappa T k/n full epochs, then kappa T on subsets.
            kappa: share of T on subsets in a warm run.
            tail: infobatch: the last epochs on everything, as a share of T.
            proxy_epochs: forgetting, entropy, el2n, grand, facility-location, not warm: the full
                epochs before they score (10). Whether the network starts anew then is yours.
            pool: share of the data that a selection looks at, drawn anew each time.
            weighting: how SGD scales the weights: to mean 1 once a "selection" or in each "batch",
                or "none"; "own", as the strategy has it.
            seed: of all that is drawn.
            loss: "softmax", "mse", "sigmoid", or a function of one (logits, label).
            label_smoothing: of softmax and sigmoid.
            groups: of losses without classes: a number of quantiles of the labels, or each
                example's group; None is one problem over all examples.
            num_classes: C, where the last classes may be absent.
            validation_labels: (m,), for glister and for validation_target=True.
            **settings: the strategy's own, by the names of `gradmatch-jax train`: lam, fill, ..

        Raises:
            UserError: a name or value that cannot be; a setting that the strategy does not have.
        """
        name, entry, warmed = entry_of(strategy, as_flag("warm", warm))
        self.name = name
        smoothing = check_loss(loss, label_smoothing)
        if entry.softmax and (loss not in (None, "softmax") or smoothing):
            raise UserError(
                f"{name} reads the classes' probabilities, which this loss has not; use "
                "gradmatch-per-class, gradmatch-pb or craig"
            )
        train, held = targets_of(labels, loss, groups, num_classes), None
        if validation_labels is not None:
            held = validation_targets(validation_labels, train, loss, groups)
        self._objective = looks.Objective(loss, smoothing, train, held)
        n = self.count = len(train.groups)
        self.budget = min(as_budget(budget, fraction, n), n) if entry.regime.budgeted else n
        held_groups = None if held is None else held.groups
        task = Task(train.groups, train.classes, self.budget, held_groups, train.labelled)
        share = as_number("pool", pool, SHARE)
        if share < 1 and not entry.reads:
            raise UserError(f"pool does not apply to {name}, which reads no pass; leave it out")
        options = settings_of(name, entry, settings)
        own = build_pooled(entry, task, options, share)
        self._strategy: Strategy = scaled_as_asked(name, entry, own, weighting)
        if "validation" in self._strategy.needs and held is None:
            raise UserError(f"{name} needs validation_labels, and validation=forward with a call")
        self._rhythm: Rhythm = rhythm_of(
            name, entry, self._strategy, self.budget / n, warm=warmed, epochs=epochs, every=every,
            kappa=kappa, tail=tail, proxy_epochs=proxy_epochs,
        )  # fmt: skip
        self.seed, self._asked = as_whole("seed", seed, SEED), forward
        self._key = as_key(self.seed)
        self._wanted = looks.recorded_names(self._strategy, train.classes)
        self._identity = (
            f"{name}, {self.budget} of {n} examples, seed {seed}, pool {share:g}, "
            f"{self._rhythm.in_words}"
        )
        if self.weighting != own.weighting:
            self._identity += f", weighting {self.weighting}"
        self._memory = Memory(
            epoch=-1,
            observed=False,
            selected=False,
            selection=empty_selection(self.budget),
            strategy=self._strategy.init(first_keys(self._key)[1]),
            seen=[],
        )

    @property
    def epochs(self) -> int | None:
        """How many epochs the plan has; None where it goes on for ever."""
        return self._rhythm.epochs

    @property
    def needs(self) -> tuple[str, ...]:
        """What a selection reads: "train", "validation", "gradient_norms", or nothing."""
        return self._strategy.needs

    @property
    def weighting(self) -> str:
        """How SGD is to scale the weights: "batch" (CRAIG) is to mean 1 in each mini-batch."""
        return self._strategy.weighting

    def ordered(self, epoch: int) -> bool:
        """Whether the rows of an epoch are in the order to train in: do not shuffle them."""
        return self._rhythm.at(epoch).batching.ordered

    @property
    def selection(self) -> Selection:
        """The last selection as its method gave it, with what is known of the match."""
        return self._memory.selection

    def expects(self, epoch: int) -> int:
        """How many examples an epoch will train on, at most: nothing is selected for it."""
        return self.count if self._rhythm.at(as_count("epoch", epoch)).full else self.budget

    def __call__(
        self,
        epoch: int,
        forward: Any = None,
        *,
        validation: Any = None,
        gradient_norms: Any = None,
    ) -> tuple[Int64[np.ndarray, "k"], Float32[np.ndarray, "k"]]:
        """Rows of the training set for an epoch, and the weight w_i of each in the loss.

        A mini-batch's loss is the mean of w_i l_i, not divided by the weights' sum. The weights
        have mean 1; InfoBatch's, which carry the gradient's scale, are as it gives them.

        Args:
            epoch: 0, 1, ..; the same one again gives the same answer.
            forward: () -> (logits, features) of all training examples in order, evaluation mode;
                features are what enters the last linear layer. With a pool, rows -> the same of
                those rows. Called only when a selection is due that reads it.
            validation: likewise, of the validation set.
            gradient_norms: likewise, -> (n,), of each example's gradient in all parameters (grand).

        Returns:
            Rows and weights, as NumPy arrays of your own.

        Raises:
            UserError: an epoch before the last one, or past the plan; a pass that is missing or
                does not fit.
        """
        epoch = as_count("epoch", epoch)
        last = self._memory.epoch
        if epoch < last:
            said = f"epoch {epoch} comes after epoch {last}"
            raise UserError(f"{said}: epochs go forward; restore(state) goes back")
        if epoch > last:
            planned = [self._rhythm.at(i) for i in range(last + 1, epoch + 1)]  # before any change
            self._close_epoch()
            now = planned[-1]
            if any(e.select for e in planned) or not (now.full or self._memory.selected):
                self._select(epoch, looks.Asked(forward or self._asked, validation, gradient_norms))
            self._memory.epoch = epoch
        chosen = examples_of(self._rhythm.at(epoch), self._memory.selection, self.count)
        return np.array(chosen.indices, np.int64), np.array(chosen.weights, np.float32)

    def observe(
        self,
        rows: ArrayLike,
        *,
        logits: ArrayLike | None = None,
        features: ArrayLike | None = None,
        **recorded: ArrayLike,
    ) -> None:
        """Tell a strategy that watches training what it saw: a mini-batch or an epoch at a time.

        InfoBatch wants `losses`, forgetting wants whether each was `correct`; both can be had from
        `logits` instead. Others want nothing, and are told nothing.

        Args:
            rows: (b,), of the training set, as they were taken.
            logits: (b, C), before the step; what is wanted is computed of them.
            features: (b, E), where a strategy of your own reads them.
            **recorded: (b,) each, by name, in place of logits.

        Raises:
            UserError: other names or lengths than the strategy wants.
        """
        taken = np.asarray(as_indices("rows", rows, self.count))
        if logits is not None:
            parts = self._strategy, self._wanted, self._objective
            recorded |= looks.recorded_of(self.name, *parts, taken, logits, features)
        self._memory.seen.append(looks.seen_of(self.name, self._wanted, taken, recorded))
        self._memory.observed = True

    def state(self) -> dict[str, np.ndarray]:
        """All that a resumed loop needs, as NumPy arrays by name: np.savez(file, **state) will do.

        Of a JSON file, the arrays' lists are taken as well.
        """
        return {"of": np.asarray(self._identity)} | packed(self._memory)

    def restore(self, state: Mapping[str, Any] | Any) -> "Selector":
        """Go on from a state of a selector that was made with the same arguments; returns itself.

        Raises:
            UserError: a state of another selector, or none.
        """
        if not isinstance(state, Mapping) and not hasattr(state, "files"):
            raise UserError(f"state must be what state() gave, not {short(state)}")
        given = {str(name): state[name] for name in state}
        of = str(given.pop("of", "nothing"))
        if of != self._identity:
            raise UserError(f"state is of {of}; this selector is {self._identity}")
        self._memory = unpacked(given, self._memory)
        return self

    def _close_epoch(self) -> None:
        """Hand the strategy what was observed since the last call."""
        memory = self._memory
        parts, memory.seen = memory.seen, []
        if parts:
            memory.strategy = self._strategy.observe(memory.strategy, looks.joined(parts))

    def _select(self, epoch: int, asked: looks.Asked) -> None:
        memory, strategy = self._memory, self._strategy
        if self._wanted and epoch > 0 and not memory.observed:
            wanted = ", ".join(f"{name}=.." for name in self._wanted)
            raise UserError(
                f"{self.name} selects by what training shows: call observe(rows, {wanted}) with "
                "each mini-batch"
            )
        key = epoch_keys(self._key, epoch)[0]
        rows = strategy.rows(memory.strategy, key)
        snapshot = looks.snapshot_of(strategy, rows, asked, self._objective)
        answer = strategy.select(memory.strategy, snapshot, key)
        memory.selection, memory.strategy = check_answer(self.name, strategy, answer, self.count)
        memory.selected = True
