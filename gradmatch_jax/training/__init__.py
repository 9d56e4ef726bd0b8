"""A run: configuration, plan, weighted SGD, folder."""
