"""The paper, table by table and figure by figure: `python -m experiments.paper list`.

- `study.py` what a grid of runs is, `studies.py` all of them;
- `exhibit.py` what a table or figure is, `exhibits/` a file each: what is run, what the paper says,
  how it is drawn; beside them what several share, `cells.py`, `tradeoff.py`, `ablation.py` and
  `imbalance.py`, and `ours.py`, which the paper does not have;
- `published.py`, `tables.json` the paper's figures;
- `lines.py`, `methods.py`, `costs.py`, `significance.py`, `points.py` figures from records;
- `draw.py` the plots, `page.py` everything on one page.
"""
