"""When is a small clean validation set worth something as a target? Declared, run, and answered."""
