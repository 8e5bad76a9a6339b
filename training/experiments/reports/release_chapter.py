"""What `results.md` says of the released network: its recipe, accuracies, mistakes and neighbours.

Knows records; nothing of networks, images or files.
"""

from collections.abc import Sequence

from training.experiments.aggregate import RunStats, summarize
from training.experiments.config import Policy
from training.experiments.record import Evaluation, Record
from training.experiments.reports.figures import confusion_matrix, retrieval_by_layer
from training.experiments.reports.markdown import PICTURES, format_stats, paragraph, table

LISTED = 20
"""So many classes are listed; of more, those with which it has the most trouble."""


def chapter(final: Record, studies: Sequence[Record]) -> str:
    """All that there is of it, in Markdown."""
    sections = [_described(final, studies)]
    if final.test:
        sections.append(_confusion(final, final.test))
    if final.retrieval:
        sections.append(_retrieval(final))
    return "\n\n".join(sections)


def pictures(final: Record) -> dict[str, bytes]:
    """The pictures that the chapter shows, by their names."""
    found = {}
    if final.test and (matrix := final.test.confusion_matrix):
        found["confusion.svg"] = confusion_matrix(matrix, _classes(final))
    if final.retrieval:
        found["retrieval.svg"] = retrieval_by_layer(final.retrieval, _classes(final))
    return found


def _described(final: Record, studies: Sequence[Record]) -> str:
    own = [one for one in studies if one.group_id == final.group_id]
    summary = summarize(own)[0]
    config = final.config
    variant = final.variant
    parts = [
        f"{variant.conv_blocks} blocks",
        "batch norm" if variant.batch_norm else "",
        f"dropout {variant.dropout}" if variant.dropout else "",
        _augmentation(config.policy) if variant.augmentation else "",
        "normalised inputs" if variant.normalised else "",
        f"{'AdamW' if config.decay_decoupled else 'Adam'}, learning rate {config.learning_rate:g} "
        f"({config.schedule.replace('_', ' ')}), weight decay {config.weight_decay:g}",
        f"Muon at {config.kernel_rate:g} times that for convolution kernels"
        if config.optimizer == "muon"
        else "",
        f"label smoothing {config.label_smoothing:g}" if config.label_smoothing else "",
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
    described = paragraph(
        f"""{", ".join(part for part in parts if part)}. It was {_chosen(final)}trained afresh on
        training and validation images together; its test images were never trained on."""
    )
    text = f"""## The released network: `{final.experiment}`

{described}

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

Logits are divided by a temperature of {calibration.temperature:.4f}, fitted on the validation
images with the network that had not been trained on them.

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


def _chosen(final: Record) -> str:
    """How, where it is of those among which `release` chooses."""
    variant = final.variant
    if variant.conv_blocks != 3 or not variant.batch_norm:
        return "asked for by name, and "
    return "chosen by validation accuracy among the 3-block networks with batch norm, and "


def _confusion(final: Record, test: Evaluation) -> str:
    classes = _classes(final)
    taken = test.taken
    shares = {true: row.get(true, 0) / sum(row.values()) for true, row in taken.items()}
    many = len(shares) > LISTED
    rows = []
    for true in sorted(shares, key=lambda true: shares[true])[:LISTED] if many else shares:
        mistakes = {other: count for other, count in taken[true].items() if other != true}
        mistaken = max(mistakes, key=lambda other: mistakes[other], default=None)
        most = f"{classes[mistaken]} ({mistakes[mistaken]})" if mistaken is not None else "-"
        rows.append([classes[true], f"{shares[true]:.3f}", most])
    parts = ["### What it takes for what"]
    if test.confusion_matrix:
        parts.append(f"![Confusion matrix]({PICTURES}/confusion.svg)")
    if many:
        parts.append(f"The {LISTED} of {len(classes):,} classes that it recognises least:")
    parts.append(table(["class", "share recognised", "most often taken for"], rows))
    if many:
        pairs = [
            (count, true, other)
            for true, row in taken.items()
            for other, count in row.items()
            if other != true
        ]
        pairs.sort(key=lambda pair: -pair[0])
        listed = [[classes[true], classes[other], str(n)] for n, true, other in pairs[:LISTED]]
        parts.append("What it takes for what most often:")
        parts.append(table(["class", "taken for", "images"], listed))
    return "\n\n".join(parts)


def _retrieval(final: Record) -> str:
    layers = final.retrieval
    assert layers  # noqa: S101 - the caller has looked
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
    if few := len(classes) > LISTED:
        shown = sorted(shown, key=precision)[:LISTED]
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
    which = f", of the {LISTED} where it is least at the last layer" if few else ""
    shares = (
        f"{layers[name].overall.precision_at_10:.0%} at `{name}`"
        for name in ("conv2", "logits")
        if name in layers
    )
    claim = paragraph(
        f"""The course report held, by ten figures, that the second block finds shapes across
        classes, and the output finds classes. In numbers, the query's class have, of its ten
        nearest: {", ".join(shares)}."""
    )
    return f"""## How good the neighbours are at each layer

Each of {one.queries:,} test images is the query once, and all the other {one.gallery - 1:,} are
ranked by their cosine to it, exactly. Precision at 10 is the share of the ten nearest that have its
class; mean average precision counts the whole ranking. A blind ranking gets about the share of the
class among the images.

{overall}

{claim}

![Precision at 10 by layer and class]({PICTURES}/retrieval.svg)

By class{which}, precision at 10 / mean average precision:

{by_class}"""


def _classes(record: Record) -> Sequence[str]:
    """Their names; their numbers in records that were written before names were kept."""
    if record.dataset.classes:
        return record.dataset.classes
    matrix = record.test.confusion_matrix if record.test else None
    return [str(number) for number in range(len(matrix or ()))]


def _accuracies(stats: RunStats) -> str:
    return format_stats(stats, "{:.4f}")
