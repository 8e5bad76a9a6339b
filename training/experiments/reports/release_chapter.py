"""Writes the chapter of `results.md` on the released network: settings, accuracies, retrieval.

Knows records; nothing of networks, images or files.
"""

from collections.abc import Sequence

from training.experiments.aggregate import RunStats, summarize
from training.experiments.config import Distillation, Policy
from training.experiments.record import Evaluation, Record
from training.experiments.reports.figures import confusion_matrix, retrieval_by_layer
from training.experiments.reports.markdown import FIGURES, format_stats, paragraph, table

MAX_LISTED = 20
"""Maximum number of classes in a table; of more, those with the lowest metric are listed."""


def chapter(final: Record, studies: Sequence[Record]) -> str:
    """Build the chapter in Markdown."""
    sections = [_description(final, studies)]
    if final.test:
        sections.append(_confusion(final, final.test))
    if final.retrieval:
        sections.append(_retrieval(final))
    return "\n\n".join(sections)


def figures(final: Record) -> dict[str, bytes]:
    """Draw the figures of the chapter, by file name."""
    found = {}
    if final.test and (matrix := final.test.confusion_matrix):
        found["confusion.svg"] = confusion_matrix(matrix, _classes(final))
    if final.retrieval:
        found["retrieval.svg"] = retrieval_by_layer(final.retrieval, _classes(final))
    return found


def _description(final: Record, studies: Sequence[Record]) -> str:
    own = [one for one in studies if one.group_id == final.group_id]
    summary = summarize(own)[0]
    config = final.config
    variant = final.variant
    parts = [
        f"{variant.conv_blocks} blocks" if variant.conv_blocks else "a pretrained body",
        "batch norm" if variant.batch_norm else "",
        f"dropout {variant.dropout}" if variant.dropout else "",
        _augmentation(config.policy) if variant.augmentation else "",
        "normalised inputs" if variant.normalised else "",
        f"{'AdamW' if config.decay_decoupled else 'Adam'}, learning rate {config.learning_rate:g} "
        f"({config.schedule.replace('_', ' ')}), weight decay {config.weight_decay:g}",
        f"Muon at {config.kernel_rate:g} times the learning rate for convolution kernels"
        if config.optimizer == "muon"
        else "",
        f"label smoothing {config.label_smoothing:g}" if config.label_smoothing else "",
        _distillation(config.distillation) if config.distillation else "",
        f"{config.epochs} epochs of batches of {config.batch_size}",
    ]
    rows = []
    if summary.validation_accuracy:
        rows.append(
            ["validation, trained on the training images", _accuracies(summary.validation_accuracy)]
        )
    if summary.test_accuracy:
        rows.append(["test, trained on the training images", _accuracies(summary.test_accuracy)])
    if final.test:
        low, high = final.test.wilson95
        rows.append(
            [
                "**test, trained on training and validation images**",
                f"**{final.test.accuracy:.4f}** (95 %: {low:.4f} to {high:.4f})",
            ]
        )
    if final.own_test:
        low, high = final.own_test.wilson95
        rows.append(
            [
                f"the data set's own {final.own_test.count:,} test images",
                f"{final.own_test.accuracy:.4f} (95 %: {low:.4f} to {high:.4f})",
            ]
        )
    if (found := final.near_duplicates) and found.accuracy_without is not None:
        rows.append(
            [
                f"test images without a near-duplicate in training (all but {found.count:,})",
                f"{found.accuracy_without:.4f}",
            ]
        )
    description = paragraph(
        f"""Settings: {", ".join(part for part in parts if part)}. The experiment was
        {_selection(final)}. Its network was then trained from new weights on the training and
        validation images together, and never on its test images."""
    )
    text = f"""## The released network: `{final.experiment}`

{description}

{table(["images", "accuracy"], rows)}"""
    if calibration := final.calibration:
        rows = [
            [
                "expected calibration error (15 bins)",
                f"{calibration.error_before:.4f}",
                f"{calibration.error_after:.4f}",
            ],
            ["cross entropy", f"{calibration.loss_before:.4f}", f"{calibration.loss_after:.4f}"],
        ]
        measured = table(["on the test images", "before", "after"], rows)
        text += f"""

### Calibration

Logits are divided by a temperature of {calibration.temperature:.4f}. It was fitted on the
validation images with the network of the study, which was not trained on them.

{measured}"""
    return text


def _augmentation(policy: Policy) -> str:
    left, right, top, bottom = policy.padding
    parts = [
        f"flips and shifts (left {left}, right {right}, top {top}, bottom {bottom} pixels, "
        f"{'mirrored' if policy.reflect else 'black'} beyond the edge)",
        f"cut-outs of {policy.cutout} pixels" if policy.cutout else "",
        f"CutMix for {policy.cutmix:.0%} of the images" if policy.cutmix else "",
    ]
    return ", ".join(part for part in parts if part)


def _distillation(taught: Distillation) -> str:
    return (
        f"distilled from `{taught.teacher.name}` (weight {taught.weight:g}, temperature "
        f"{taught.temperature:g})"
    )


def _selection(final: Record) -> str:
    """Describe how the experiment was selected: by `release`, or by the name given to it."""
    variant = final.variant
    if variant.conv_blocks != 3 or not variant.batch_norm:
        return "selected by name"
    return "chosen by validation accuracy among the 3-block networks with batch norm"


def _confusion(final: Record, test: Evaluation) -> str:
    classes = _classes(final)
    counts = test.confusion_counts
    recall = {true: row.get(true, 0) / sum(row.values()) for true, row in counts.items()}
    many = len(recall) > MAX_LISTED
    rows = []
    for true in sorted(recall, key=lambda true: recall[true])[:MAX_LISTED] if many else recall:
        mistakes = {other: count for other, count in counts[true].items() if other != true}
        mistaken = max(mistakes, key=lambda other: mistakes[other], default=None)
        most = f"{classes[mistaken]} ({mistakes[mistaken]})" if mistaken is not None else "-"
        rows.append([classes[true], f"{recall[true]:.3f}", most])
    parts = ["### Confusion"]
    if test.confusion_matrix:
        parts.append(f"![Confusion matrix]({FIGURES}/confusion.svg)")
    if many:
        parts.append(f"The {MAX_LISTED} of {len(classes):,} classes with the lowest recall:")
    parts.append(table(["class", "recall", "most frequent wrong class"], rows))
    if many:
        pairs = [
            (count, true, other)
            for true, row in counts.items()
            for other, count in row.items()
            if other != true
        ]
        pairs.sort(key=lambda pair: -pair[0])
        listed = [[classes[true], classes[other], str(n)] for n, true, other in pairs[:MAX_LISTED]]
        parts.append("The most frequent confusions:")
        parts.append(table(["class", "predicted as", "images"], listed))
    return "\n\n".join(parts)


def _retrieval(final: Record) -> str:
    layers = final.retrieval
    assert layers  # noqa: S101 - checked by the caller
    one = next(iter(layers.values()))
    overall = table(
        ["layer", "dimension", "precision at 10", "mean average precision"],
        [
            [
                name,
                str(layer.dimension),
                f"{layer.overall.precision_at_10:.3f}",
                f"{layer.overall.mean_average_precision:.3f}",
            ]
            for name, layer in layers.items()
        ],
    )
    classes = _classes(final)
    last = list(layers.values())[-1].by_class

    def precision(number: int) -> float:
        found = last[number]
        return found.precision_at_10 if found else 1.0

    shown = list(range(len(classes)))
    if few := len(classes) > MAX_LISTED:
        shown = sorted(shown, key=precision)[:MAX_LISTED]
    by_class = table(
        ["class", *layers],
        [
            [
                classes[number],
                *(
                    f"{found.precision_at_10:.3f} / {found.mean_average_precision:.3f}"
                    if (found := layer.by_class[number])
                    else ""
                    for layer in layers.values()
                ),
            ]
            for number in shown
        ],
    )
    which = f" for the {MAX_LISTED} with the lowest precision at the last layer" if few else ""
    shares = (
        f"{layers[name].overall.precision_at_10:.0%} at `{name}`"
        for name in ("conv2", "logits")
        if name in layers
    )
    comparison = paragraph(
        f"""The course report concludes from ten figures that the second block finds shapes across
        classes, and that the output finds classes. Measured, the share of the ten nearest with the
        query's class is {" and ".join(shares)}."""
    )
    return f"""## Retrieval by layer

Each of {one.queries:,} test images is the query once, and the other {one.gallery - 1:,} are ranked
by their exact cosine to it. Precision at 10 is the share of the ten nearest with the query's class.
Mean average precision is over the whole ranking. Both are about the class's share of the images for
a random ranking.

{overall}

{comparison}

![Precision at 10 by layer and class]({FIGURES}/retrieval.svg)

By class{which}, precision at 10 / mean average precision:

{by_class}"""


def _classes(record: Record) -> Sequence[str]:
    """Return the names of the classes, or their numbers if the record is older than the names."""
    if record.dataset.classes:
        return record.dataset.classes
    matrix = record.test.confusion_matrix if record.test else None
    return [str(number) for number in range(len(matrix or ()))]


def _accuracies(stats: RunStats) -> str:
    return format_stats(stats, "{:.4f}")
