"""The settings of an experiment as data: its network, its training and its augmentation.

Knows nothing of how they are carried out.
"""

import hashlib
from typing import Literal

from pydantic import Field

from training.base_model import Frozen
from training.models.layers import Family
from training.models.precision import PrecisionChoice


class Policy(Frozen):
    """The augmentation of training images, which are also flipped with probability 1/2.

    `padding` is the range of the shift in pixels: left, right, top, bottom. The default is the
    report's `RandomCrop(32, padding=[0, 2, 3, 4])`. The padding is black, or with `reflect` the
    mirrored image. `cutout` is the side of a grey square in pixels, 0 for none (DeVries and Taylor,
    2017). `cutmix` is the share of the images that get a box of another image (Yun et al., 2019).
    """

    padding: tuple[int, int, int, int] = (0, 3, 2, 4)
    reflect: bool = False
    cutout: int = 0
    cutmix: float = 0.0


REPORT = Policy()
"""The augmentation of the course report."""

Regularizer = Literal["none", "batchnorm", "dropout", "augmentation", "combined"]


class Variant(Frozen):
    """The architecture of the network, and the preparation of its inputs.

    `dropout` is a probability. `normalised` inputs have mean 0 and standard deviation 1 in each
    channel, over the training images. `width` multiplies the channels and hidden units of a
    teacher. `side` is that of the images, in pixels. A pretrained network has no blocks of its own;
    `fine_tuned` says whether its body is trained too.
    """

    conv_blocks: Literal[0, 2, 3]
    batch_norm: bool = False
    dropout: float = 0.0
    augmentation: bool = False
    normalised: bool = False
    width: int = 1
    family: Family = "blocknet"
    side: int = 32
    fine_tuned: bool = False

    @property
    def frozen(self) -> bool:
        """Whether only the last layer is trained, on features that are computed once."""
        return self.conv_blocks == 0 and not self.fine_tuned


class Distillation(Frozen):
    """Training towards the softened outputs of a teacher (Hinton et al., 2015).

    The loss is `weight` times the cross entropy to the teacher's probabilities, and the rest times
    that to the labels. Both networks see the same augmented image. Their logits are divided by
    `temperature` first, and the first part is multiplied by its square.
    """

    teacher: "Experiment"
    weight: float = 0.9
    temperature: float = 2.0


class Config(Frozen):
    """The settings of the training.

    With `decay_decoupled`, Adam is AdamW. The optimizer `muon` is Muon for convolution kernels, at
    `kernel_rate` times the learning rate, and Adam for the other parameters. `decay_norms` applies
    the weight decay to the parameters of batch norms too, as PyTorch does. `policy` applies if
    the variant has augmentation. `init` is PyTorch's default, or He's (2015) for ReLU.
    """

    optimizer: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    kernel_rate: float = 1.0
    weight_decay: float = 5e-4  # in the report's code, not in its text
    decay_decoupled: bool = False
    decay_norms: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "one_cycle"] = "constant"
    batch_size: int = 64
    epochs: int = 10
    label_smoothing: float = 0.0
    init: Literal["default", "he"] = "default"
    policy: Policy = REPORT
    distillation: Distillation | None = None
    precision: PrecisionChoice = "auto"
    memory_format: Literal["channels_last"] = "channels_last"
    compile: Literal[False] = False
    cuda_graph: bool = False


MACHINE = {"memory_format", "compile", "cuda_graph"}
"""Settings that affect the speed of a run and not its results."""


class Published(Frozen):
    """The course report's figures of a network: accuracies as fractions, times in seconds."""

    training_seconds: float
    validation_accuracy: float
    test_accuracy: float


class Experiment(Frozen):
    """A named network with the settings of its training."""

    name: str
    published_name: str | None
    regularizer: Regularizer
    variant: Variant
    config: Config = Field(default_factory=Config)
    published: Published | None = None

    def with_epochs(self, epochs: int | None) -> "Experiment":
        """Return a copy with this number of epochs, as has its teacher; None changes nothing."""
        if epochs is None:
            return self
        update: dict[str, object] = {"epochs": epochs}
        if taught := self.config.distillation:
            teacher = taught.teacher.with_epochs(epochs)
            update["distillation"] = taught.model_copy(update={"teacher": teacher})
        return self.model_copy(update={"config": self.config.model_copy(update=update)})


Distillation.model_rebuild()
Config.model_rebuild()


def group_id(experiment: Experiment, dataset_fingerprint: str) -> str:
    """Hash everything that defines a run but its seeds and its machine.

    Runs with the same hash are repeats. Fields at their defaults are left out, so that a new field
    does not change the hash of old runs.
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
