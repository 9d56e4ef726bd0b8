"""The paper, table by table and figure by figure: `python -m experiments.paper list`.

- `study.py` what a grid of runs is, `studies.py` all of them;
- `exhibit.py` what a table or figure is, `exhibits/` all of them: what is run, what the paper says,
  how it is drawn;
- `published.py`, `tables.json` the paper's figures;
- `lines.py`, `methods.py`, `costs.py`, `significance.py`, `points.py` figures from records;
- `draw.py` the plots, `page.py` everything on one page.
"""
