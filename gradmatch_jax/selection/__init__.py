"""Gradients in, a `Selection` out."""
