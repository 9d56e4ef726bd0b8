"""Commands that reproduce every figure: each says what it runs and what the paper has."""
