"""When to select and from what: one file a family, a function a strategy."""

from gradmatch_jax.strategies.registry import STRATEGIES, Entry, build_strategy, register

__all__ = ["STRATEGIES", "Entry", "build_strategy", "register"]
