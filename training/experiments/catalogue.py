"""The eight experiments of the course report and this project's own recipe, as plain data."""

from training.experiments.config import (
    Config,
    Distillation,
    Experiment,
    Policy,
    Published,
    Regularizer,
    Variant,
)


def _report(
    regularizer: Regularizer,
    published_regularizer: str,
    variant: Variant,
    seconds: float,
    validation: float,
    test: float,
) -> Experiment:
    return Experiment(
        name=f"{regularizer}-{variant.conv_blocks}",
        published_name=f"Lab2_P1_Regularizer_{published_regularizer}_{variant.conv_blocks}LayerCNN",
        regularizer=regularizer,
        variant=variant,
        published=Published(
            training_seconds=seconds, validation_accuracy=validation, test_accuracy=test
        ),
    )


# Seconds and validation accuracy are from the report's tables, test accuracy is from its notebook.
# The validation table swaps none-3 and dropout-3; the values here are those of the notebook's log.
EIGHT = (
    _report("none", "None", Variant(conv_blocks=2), 109.15, 0.7408, 0.7393),
    _report("none", "None", Variant(conv_blocks=3), 118.6, 0.7508, 0.7452),
    _report(
        "batchnorm", "BatchNorm", Variant(conv_blocks=2, batch_norm=True), 106.56, 0.7397, 0.7415
    ),
    _report(
        "batchnorm", "BatchNorm", Variant(conv_blocks=3, batch_norm=True), 115.19, 0.7907, 0.7845
    ),
    _report("dropout", "DropOut", Variant(conv_blocks=2, dropout=0.2), 103.0, 0.7549, 0.7540),
    _report("dropout", "DropOut", Variant(conv_blocks=3, dropout=0.2), 108.6, 0.0976, 0.0971),
    _report(
        "augmentation",
        "DataAugmentation",
        Variant(conv_blocks=2, augmentation=True),
        136.60,
        0.7623,
        0.7572,
    ),
    _report(
        "augmentation",
        "DataAugmentation",
        Variant(conv_blocks=3, augmentation=True),
        147.88,
        0.0994,
        0.0967,
    ),
)

# The settings were chosen by validation accuracy; experiments/aside/ has the records of the others.
# AdamW for all parameters: 0.8813. Muon for the kernels: 0.8813 as well, with a training accuracy
# of 0.948, so it overfitted. Muon with CutMix for half of the images: 0.8852.
# Shifts are up to 4 pixels, mirrored at the edge. A cut-out has a quarter of the image's side. A
# batch of 128 is faster on two cores than one of 64.
BEST = Experiment(
    name="best-3",
    published_name=None,
    regularizer="combined",
    variant=Variant(
        conv_blocks=3, batch_norm=True, dropout=0.3, augmentation=True, normalised=True
    ),
    config=Config(
        learning_rate=2e-3,
        weight_decay=0.05,
        decay_decoupled=True,
        betas=(0.9, 0.99),
        schedule="one_cycle",
        batch_size=128,
        epochs=30,
        label_smoothing=0.1,
        policy=Policy(padding=(4, 4, 4, 4), reflect=True, cutout=8, cutmix=0.5),
        optimizer="muon",
        kernel_rate=2.5,
    ),
)

# A teacher twice as wide, whose outputs `distilled-3` learns; it is never released. It has no label
# smoothing, which hides how similar classes are (Müller et al., 2019).
TEACHER = BEST.model_copy(
    update={
        "name": "teacher-3",
        "variant": BEST.variant.model_copy(update={"width": 2}),
        "config": BEST.config.model_copy(update={"label_smoothing": 0.0, "epochs": 20}),
    }
)
DISTILLED = BEST.model_copy(
    update={
        "name": "distilled-3",
        "variant": BEST.variant.model_copy(update={"dropout": 0.0}),
        "config": BEST.config.model_copy(
            update={"label_smoothing": 0.0, "distillation": Distillation(teacher=TEACHER)}
        ),
    }
)

# A linear layer on the features of an ImageNet network that stays as it is. The features are
# computed once, so the epochs take seconds.
PRETRAINED = Experiment(
    name="pretrained",
    published_name=None,
    regularizer="none",
    variant=Variant(conv_blocks=0, family="pretrained", side=224),
    config=Config(
        learning_rate=1e-3,
        weight_decay=0.1,
        decay_decoupled=True,
        schedule="one_cycle",
        batch_size=64,
        epochs=30,
        precision="fp32",
    ),
)

# The same, with the body trained too: some hundred times the work, for a GPU or for patience.
FINE_TUNED = Experiment(
    name="fine-tuned",
    published_name=None,
    regularizer="augmentation",
    variant=PRETRAINED.variant.model_copy(update={"fine_tuned": True, "augmentation": True}),
    config=Config(
        learning_rate=3e-4,
        weight_decay=0.05,
        decay_decoupled=True,
        schedule="one_cycle",
        batch_size=32,
        epochs=4,
        label_smoothing=0.1,
        policy=Policy(padding=(28, 28, 28, 28), reflect=True),
    ),
)

EXPERIMENTS = (*EIGHT, BEST, TEACHER, DISTILLED, PRETRAINED, FINE_TUNED)


ALIASES = {"blocknet": BEST.name}
SIDES = ("64", "96", "128")
"""Further sides of images that a `BlockNet` can be trained on."""


class UnknownExperimentError(LookupError):
    """Raised if no experiment has the name; the message lists the names."""


def find(name: str) -> Experiment:
    """Return the experiment with this name or published name.

    `blocknet` is `best-3`. A `BlockNet` may have a side at the end of its name, such as
    `best-3-64`.

    Raises:
        UnknownExperimentError: no experiment has it.

    """
    base, _, side = name.rpartition("-")
    if side in SIDES and base:
        return _sized(find(base), int(side))
    for experiment in EXPERIMENTS:
        if ALIASES.get(name, name) in (experiment.name, experiment.published_name):
            return experiment
    known = ", ".join(experiment.name for experiment in EXPERIMENTS)
    raise UnknownExperimentError(
        f"no experiment {name!r}; choose one of {known}; all but the pretrained ones also with a "
        f"side at the end, as best-3-64: {', '.join(SIDES)}"
    )


def _sized(experiment: Experiment, side: int) -> Experiment:
    """Return an experiment on larger images, with shifts and cut-outs as large in proportion."""
    if experiment.variant.family != "blocknet":
        raise UnknownExperimentError(f"{experiment.name} has a side of its own: name no other")
    factor = side // 32
    policy, taught = experiment.config.policy, experiment.config.distillation
    left, right, top, bottom = (factor * one for one in policy.padding)
    larger = {"padding": (left, right, top, bottom), "cutout": factor * policy.cutout}
    update: dict[str, object] = {"policy": policy.model_copy(update=larger)}
    if taught:
        update["distillation"] = taught.model_copy(update={"teacher": _sized(taught.teacher, side)})
    return experiment.model_copy(
        update={
            "name": f"{experiment.name}-{side}",
            "published_name": None,
            "published": None,
            "variant": experiment.variant.model_copy(update={"side": side}),
            "config": experiment.config.model_copy(update=update),
        }
    )
