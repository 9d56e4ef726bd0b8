"""Figure 3g: class imbalance, CIFAR-10."""

from experiments.paper import studies
from experiments.paper.exhibits.imbalance import imbalanced

FIGURE3G = imbalanced("figure3g", studies.CIFAR10_IMBALANCED, studies.CIFAR10_SMALL_IMBALANCED)
