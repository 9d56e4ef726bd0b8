"""Runs that are killed, damaged or very long: nothing is lost, nothing silently wrong."""
