"""The plan of a loop of one's own: `training.schedule.plan`, with or without an end."""

from functools import partial
from typing import Any, NamedTuple

from gradmatch_jax.errors import UserError
from gradmatch_jax.inputs.values import SHARE, Range, as_count, as_number
from gradmatch_jax.strategies.registry import Entry
from gradmatch_jax.strategies.strategy import Strategy
from gradmatch_jax.training.config import DEFAULT_PROXY_EPOCHS
from gradmatch_jax.training.schedule import Epoch, plan


class Rhythm(NamedTuple):
    """When to select and what to train on."""

    planned: tuple[Epoch, ...] | None  # None: it goes on for ever
    begin: Any  # epochs -> a plan that has that many at least
    in_words: str

    @property
    def epochs(self) -> int | None:
        """How many epochs there are; None where it goes on for ever."""
        return None if self.planned is None else len(self.planned)

    def at(self, epoch: int) -> Epoch:
        """The plan's epoch.

        Raises:
            UserError: it has fewer.
        """
        if self.planned is None:
            return self.begin(epoch + 1)[epoch]
        if epoch >= len(self.planned):
            raise UserError(
                f"epoch {epoch} is past the plan, which has {len(self.planned)} (selector.epochs)"
            )
        return self.planned[epoch]


def rhythm_of(
    name: str,
    entry: Entry,
    strategy: Strategy,
    share: float,
    *,
    warm: bool,
    epochs: Any,
    every: Any,
    kappa: Any,
    tail: Any,
    proxy_epochs: Any,
) -> Rhythm:
    """The rhythm of a strategy, see `Selector`.

    Raises:
        UserError: a value that cannot be; a plan that depends on `epochs`, without them.
    """
    regime = entry.regime
    if epochs is None and (warm or regime.cut is not None):
        why = "a warm start is a share of them" if warm else "it stops after a share of them"
        raise UserError(f"{name} needs epochs=T: {why}")
    proxies = 0
    if regime.scored and not warm:
        asked = DEFAULT_PROXY_EPOCHS if proxy_epochs is None else proxy_epochs
        proxies = as_count("proxy_epochs", asked, least=1)
    elif proxy_epochs is not None:
        raise UserError(f"proxy_epochs does not apply to {name} here; leave it out")
    every = as_count("every", every, least=1)
    begin = partial(
        plan,
        share=share,
        regime=regime,
        reselect=entry.reselect,
        weighting=strategy.weighting,
        ordered=strategy.ordered,
        warm=warm,
        kappa=as_number("kappa", kappa, SHARE),
        select_every=every,
        tail=as_number("tail", tail, Range(0, 1)) if epochs is not None else 0.0,
        proxy_epochs=proxies,
    )
    if epochs is None:
        return Rhythm(None, begin, f"every {every}, proxies {proxies}")
    count = as_count("epochs", epochs, least=1)
    planned = tuple(begin(count))
    words = f"every {every}, proxies {proxies}, {len(planned)} epochs of {count}"
    return Rhythm(planned, begin, words)
