"""The paper's settings as each data set's defaults (appendix A.3.2)."""

from dataclasses import dataclass

from gradmatch_jax.models.spec import Kind

AUTO = "auto"  # the model is chosen by what the data turn out to be


@dataclass(frozen=True)
class Preset:
    """What the paper trains a data set with (appendix A.3.2)."""

    model: str
    epochs: int
    batch_size: int
    lr: float = 0.01


# Batch sizes are not in the paper; 20 reproduces its RANDOM row on MNIST and is what the reference
# implementation uses there and on CIFAR. digits is ours: as many steps as fit a minute; so are npz
# and tsv, which any data may be.
PRESETS = {
    "digits": Preset("mlp", 100, 20, lr=0.01),
    "mnist": Preset("lenet", 200, 20),
    "cifar10": Preset("resnet18", 300, 20),
    "cifar100": Preset("resnet18", 300, 20),
    "svhn": Preset("resnet18", 300, 20),
    "imagenet": Preset("resnet18", 350, 128),
    "npz": Preset(AUTO, 100, 20),
    "tsv": Preset(AUTO, 60, 20, lr=0.1),
}

# What AUTO stands for, by what the inputs are; of few or small images it is SMALL_IMAGES_MODEL.
MODEL_OF_KIND: dict[Kind, str] = {
    "images": "resnet18",
    "vectors": "mlp",
    "tokens": "embedding-bag",
}
# Who tries a few pictures of theirs on a CPU waits minutes for LeNet and a day for ResNet-18. By
# these bounds MNIST's 42 million pixels have LeNet and CIFAR's 138 million ResNet-18, as the paper.
SMALL_IMAGES_MODEL = "lenet"
FEW_IMAGES, FEW_PIXELS = 10_000, 50_000_000


def model_for(kind: Kind, examples: int, values: int) -> str:
    """What AUTO stands for.

    Args:
        kind: what an input is.
        examples: the training set's.
        values: numbers in one input.

    Example:
        >>> model_for("images", 54_000, 28 * 28), model_for("images", 45_000, 32 * 32 * 3)
        ('lenet', 'resnet18')
    """
    small = examples < FEW_IMAGES or examples * values < FEW_PIXELS
    return SMALL_IMAGES_MODEL if kind == "images" and small else MODEL_OF_KIND[kind]
