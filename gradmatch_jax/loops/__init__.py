"""Selection in training loops that are not ours: any framework's, an epoch at a time."""
