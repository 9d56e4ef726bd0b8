"""A strategy by name or of the user's own, and its settings by keyword, as `train` takes them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast, get_args

from gradmatch_jax.errors import UserError, no_such
from gradmatch_jax.inputs.values import check_literal
from gradmatch_jax.settings import checked
from gradmatch_jax.solvers.options import MatchingOptions, matching_options
from gradmatch_jax.strategies.check import OWN, as_entry
from gradmatch_jax.strategies.regime import Weighting
from gradmatch_jax.strategies.registry import Entry, find_entry, keywords, split_name
from gradmatch_jax.strategies.settings import fill_of
from gradmatch_jax.strategies.strategy import Strategy, scaled
from gradmatch_jax.training.config import TrainConfig

MATCHING = tuple(field.name for field in dataclasses.fields(MatchingOptions))
KNOWN = tuple(field.name for field in dataclasses.fields(TrainConfig))


def entry_of(strategy: Any, warm: bool) -> tuple[str, Entry, bool]:
    """The strategy's name, its registry line, and whether it starts with full epochs.

    Raises:
        UserError: no strategy has the name, or it is none; one that cannot start warm.
    """
    if not isinstance(strategy, str):
        name, entry = OWN, as_entry(strategy)
    else:
        name, ends_warm = split_name(strategy)
        entry, warm = find_entry(name), warm or ends_warm
    if warm and not entry.regime.warms:
        raise UserError(f"{name} has no warm start; leave warm out")
    return name, entry, warm


def applicable(entry: Entry) -> list[str]:
    """The settings that a strategy has, by name."""
    own = keywords(entry)
    return sorted((own - {"options"}) | (set(MATCHING) if "options" in own else set()))


def scaled_as_asked(name: str, entry: Entry, strategy: Strategy, weighting: Any) -> Strategy:
    """The strategy with `weighting` for how SGD scales its weights; "own" leaves it as it is.

    Raises:
        UserError: another value than the four; a strategy that trains on all examples.
    """
    asked = check_literal("weighting", weighting, ("own", *get_args(Weighting)))
    if asked != "own" and not entry.regime.subsets:
        raise UserError(f"weighting does not apply to {name}, which weighs nothing; leave it out")
    return scaled(strategy, cast(Any, asked))


def settings_of(name: str, entry: Entry, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` checked by type and range, as a strategy's function takes them.

    Raises:
        UserError: a setting that the strategy does not have, or a value that cannot be.

    Example:
        >>> options = settings_of("gradmatch", find_entry("gradmatch"), {"lam": 0.1})["options"]
        >>> options.lam, options.fill
        (0.1, 'steady')
    """
    matches, allowed = "options" in keywords(entry), applicable(entry)
    for setting in given:
        if setting in KNOWN and setting not in allowed:
            raise UserError(f"{setting} does not apply to {name}; leave it out")
        if setting not in allowed:
            raise no_such(f"setting of {name}", setting, allowed)
    known = {setting: value for setting, value in given.items() if setting in KNOWN}
    config = checked(TrainConfig(**known))
    fill = fill_of(config.fill, entry.fill, config.validation_target)
    config = dataclasses.replace(config, fill=fill)
    values = dict(given) | {setting: getattr(config, setting) for setting in known}
    return values | ({"options": matching_options(config)} if matches else {})
