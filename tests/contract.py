"""What jaxtyping's import hook checks calls with: beartype; an int does for a float (PEP 484)."""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
