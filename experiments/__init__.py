"""Commands that reproduce every figure: each says what it runs and what the paper has.

- `bench`: speed, memory and accuracy of the solvers and selections by themselves.
- `paper`: the paper's tables, its figures beside ours.

Every command has `--quick`, a rehearsal of a minute or less on embedded or random data.
"""
