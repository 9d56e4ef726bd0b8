"""GRAD-MATCH and its rivals in JAX."""
