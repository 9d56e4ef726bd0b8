"""Matrices in, positions and weights out: no example, label or class is known here."""
