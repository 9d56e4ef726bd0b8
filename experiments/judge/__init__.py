"""Does any selection beat a fresh random subset at equal cost? Declared, run, and answered."""
