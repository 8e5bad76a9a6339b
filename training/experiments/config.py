"""What an experiment is: its network, its training and its augmentation, as data."""

import hashlib
from typing import Literal

from training.base_model import Frozen
from training.models.device import PrecisionChoice


class Policy(Frozen):
    """How training images are varied; every image is also flipped left to right or not.

    `padding` is how far an image may be shifted: left, right, top, bottom, in pixels; the default
    is the report's `RandomCrop(32, padding=[0, 2, 3, 4])`. What is shifted in is black, or with
    `reflect` the image's own mirror image. `cutout` greys a square of that side, 0 for none,
    anywhere in the image (DeVries and Taylor, 2017). `cutmix` is the share of the images that get
    a box of another one (Yun et al., 2019).
    """

    padding: tuple[int, int, int, int] = (0, 3, 2, 4)
    reflect: bool = False
    cutout: int = 0
    cutmix: float = 0.0


REPORT = Policy()

Regularizer = Literal["none", "batchnorm", "dropout", "augmentation", "combined"]


class Variant(Frozen):
    """What the network is made of, and what is done to the images.

    `normalised` inputs have mean 0 and standard deviation 1 in each channel, over the training
    images.
    """

    conv_blocks: Literal[2, 3]
    batch_norm: bool = False
    dropout: float = 0.0
    augmentation: bool = False
    normalised: bool = False


class Config(Frozen):
    """How a network is trained.

    With `decay_decoupled`, Adam is AdamW. The optimizer `muon` is Muon for convolution kernels, at
    `kernel_rate` learning rates, and Adam for the rest. `policy` counts where the variant is
    augmented. `init` is PyTorch's default or He's (2015) for ReLU.
    """

    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    kernel_rate: float = 1.0
    weight_decay: float = 5e-4  # in the report's code, not in its text
    decay_decoupled: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "one_cycle"] = "constant"
    batch_size: int = 64
    epochs: int = 10
    label_smoothing: float = 0.0
    init: Literal["default", "he"] = "default"
    policy: Policy = REPORT
    precision: PrecisionChoice = "auto"
    memory_format: Literal["channels_last"] = "channels_last"
    compile: Literal[False] = False
    cuda_graph: bool = False


MACHINE = {"memory_format", "compile", "cuda_graph"}
"""Settings that make a run faster on some machine and change nothing else."""


class Published(Frozen):
    """What the report says of a network; accuracies are fractions, times seconds."""

    training_seconds: float
    validation_accuracy: float
    test_accuracy: float


class Experiment(Frozen):
    """One named way to train one network."""

    name: str
    published_name: str | None
    regularizer: Regularizer
    variant: Variant
    config: Config = Config()
    published: Published | None = None

    def with_epochs(self, epochs: int | None) -> "Experiment":
        """The same for so many epochs; with None as it is. It is another group then."""
        update = {} if epochs is None else {"epochs": epochs}
        return self.model_copy(update={"config": self.config.model_copy(update=update)})


def group_id(experiment: Experiment, dataset_fingerprint: str) -> str:
    """Hash of all that defines a run but its seeds and its machine: runs that agree are repeats.

    Fields at their defaults are left out, so a new field does not part old runs from new ones.
    """
    text = "\n".join(
        (
            experiment.name,
            experiment.variant.model_dump_json(exclude_defaults=True),
            experiment.config.model_dump_json(exclude_defaults=True, exclude=MACHINE),
            dataset_fingerprint,
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
