"""`gradmatch-jax strategies`: every strategy with what it selects and its source."""

from dataclasses import dataclass

from gradmatch_jax.commands.progress import make_console


@dataclass(frozen=True)
class StrategiesCommand:
    """List every strategy with its source."""


def run() -> None:
    """Print the registry as a table."""
    from rich.table import Table

    from gradmatch_jax.strategies import STRATEGIES

    table = Table("strategy", "what it selects", "source", box=None)
    for name, entry in STRATEGIES.items():
        table.add_row(name, entry.summary, entry.source)
    console = make_console()
    console.print(table)
    console.print("\nNAME-warm (or --warm): full epochs first; kappa sets the split.")
