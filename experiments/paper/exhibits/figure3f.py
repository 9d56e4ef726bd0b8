"""Figure 3f: class imbalance, MNIST."""

from experiments.paper import studies
from experiments.paper.exhibits.imbalance import imbalanced

FIGURE3F = imbalanced("figure3f", studies.MNIST_IMBALANCED)
