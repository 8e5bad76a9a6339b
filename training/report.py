"""`results.md` and its pictures, from records alone: every figure in it can be found in one.

Knows records; nothing of networks, images or files.
"""

import textwrap
from collections.abc import Callable, Iterable, Sequence

from training.experiments import EIGHT, Experiment, Regularizer
from training.figures import compared_curves, confusion_matrix, retrieval_by_layer
from training.record import Record, Spread, summarize

PICTURES = "results"
"""Folder of the pictures, beside `results.md`."""
REGULARIZERS: tuple[Regularizer, ...] = ("batchnorm", "dropout", "augmentation", "none")
"""The columns of the report's tables, in its order."""


class ReportError(RuntimeError):
    """There is nothing to report; the message says what is missing."""


def results(records: Iterable[Record]) -> dict[str, bytes]:
    """The files of the report by their names, `results.md` first.

    Where there are records of several data sets, those of the latest are reported.

    Raises:
        ReportError: there is no study that came to an end.

    """
    records = sorted(records, key=lambda record: record.started_at)
    studies = [one for one in records if one.stage == "study" and one.status != "failed"]
    if not studies:
        raise ReportError(
            "no records of finished studies: make some with `python -m training suite`"
        )
    data = studies[-1].dataset
    studies = [one for one in studies if one.dataset.fingerprint == data.fingerprint]
    studies = [run for name in _names(studies) for run in _latest_group(studies, name)]
    pictures = {"curves.svg": compared_curves(_layout(studies), studies)}
    sections = [_head(studies), _comparison(studies), _curves()]
    if final := _released(records, studies):
        sections.append(_best(final, studies))
        if final.test:
            pictures["confusion.svg"] = confusion_matrix(final.test, _classes(final))
            sections.append(_confusion(final))
        if final.retrieval:
            pictures["retrieval.svg"] = retrieval_by_layer(final.retrieval, _classes(final))
            sections.append(_retrieval(final))
    sections.append(_runs([*studies, *([final] if final else [])]))
    text = "\n\n".join(sections) + "\n"
    return {
        "results.md": text.encode(),
        **{f"{PICTURES}/{name}": picture for name, picture in pictures.items()},
    }


def _names(records: Sequence[Record]) -> list[str]:
    """The eight in their order, then whatever else there is."""
    known = [experiment.name for experiment in EIGHT]
    present = {record.experiment for record in records}
    return [name for name in known if name in present] + sorted(present - {*known})


def _latest_group(studies: Sequence[Record], name: str) -> list[Record]:
    """Where the settings or the machine's precision changed, the latest count."""
    runs = [one for one in studies if one.experiment == name]
    return [one for one in runs if one.group_id == runs[-1].group_id]


def _layout(studies: Sequence[Record]) -> list[list[str]]:
    present = _names(studies)
    eight = [[one.name for one in EIGHT if one.variant.conv_blocks == n] for n in (2, 3)]
    rows = [[name for name in row if name in present] for row in eight]
    others = [name for name in present if name not in {*eight[0], *eight[1]}]
    return [row for row in (*rows, others) if row]


def _released(records: Sequence[Record], studies: Sequence[Record]) -> Record | None:
    """The latest final run of the settings with the best validation accuracy in these studies."""
    scores = {
        summary.group_id: summary.validation_accuracy.mean
        for summary in summarize(studies)
        if summary.validation_accuracy
    }
    finals = [
        one
        for one in records
        if one.stage == "final" and one.status != "failed" and one.group_id in scores
    ]
    return max(finals, key=lambda one: (scores[one.group_id], one.started_at), default=None)


def _head(studies: Sequence[Record]) -> str:
    data = studies[-1].dataset
    counts = {name: f"{split.count:,}" for name, split in data.splits.items()}
    seeds = sorted({one.seeds.init for one in studies})
    made = _paragraph(
        "Written by `python -m training report` from the records in `experiments/`: nothing in "
        "it is typed."
    )
    method = _paragraph(
        f"""Data set `{data.name}` (fingerprint `{data.fingerprint[:16]}`), split by class into
        {counts["train"]} images to train, {counts["validation"]} to validate and {counts["test"]}
        to test with; the test images of a run are looked at once, after its last epoch. An accuracy
        is that of the last epoch, counted over images never augmented. Seeds:
        {", ".join(map(str, seeds))}; mean ± sample standard deviation over the runs that learned,
        with their number. "Published" is the course report that this project grew out of: one run
        each, augmented runs validated and tested on augmented images, accuracies averaged over
        batches."""
    )
    return f"# Results\n\n{made}\n\n{method}"


def _comparison(studies: Sequence[Record]) -> str:
    tables = (
        ("Training time, seconds", _seconds, "training_seconds", "{:.0f}", "{:.2f}"),
        ("Validation accuracy", _learned(_validation), "validation_accuracy", "{:.4f}", "{:.4f}"),
        ("Test accuracy", _learned(_test), "test_accuracy", "{:.4f}", "{:.4f}"),
    )
    parts = ["## The eight networks"]
    for title, value, published, form, published_form in tables:
        rows = []
        for blocks in (2, 3):
            shown = {one.regularizer: one for one in EIGHT if one.variant.conv_blocks == blocks}
            ours = [_cell(shown[name], studies, value, form) for name in REGULARIZERS]
            theirs = [
                published_form.format(getattr(shown[name].published, published))
                for name in REGULARIZERS
            ]
            rows += [[str(blocks), "published", *theirs], [str(blocks), "here", *ours]]
        header = ["blocks", "", "batch norm", "dropout", "augmentation", "none"]
        parts.append(f"### {title}\n\n{_table(header, rows)}")
    collapsed = [run.run_id for run in studies if run.status == "collapsed"]
    if collapsed:
        listed = ", ".join(f"`{name}`" for name in collapsed)
        parts.append(
            _paragraph(
                "Collapsed, that is, ended at the loss of a blind guess, and left out of the "
                f"accuracies: {listed}."
            )
        )
    return "\n\n".join(parts)


def _cell(
    experiment: Experiment,
    studies: Sequence[Record],
    value: Callable[[Record], float | None],
    form: str,
) -> str:
    runs = [one for one in studies if one.experiment == experiment.name]
    values = [found for one in runs if (found := value(one)) is not None]
    lost = sum(one.status == "collapsed" for one in runs) if value is not _seconds else 0
    note = f" ({lost} of {len(runs)} collapsed)" if lost else ""
    if not values:
        return f"none learned{note}" if lost else "-" if runs else "not run"
    return f"{_spread(Spread.of(values), form)}{note}"


def _spread(spread: Spread, form: str) -> str:
    mean = form.format(spread.mean)
    return mean if spread.std is None else f"{mean} ± {form.format(spread.std)}, {spread.n} runs"


def _curves() -> str:
    return f"""## Learning curves

![Accuracy and loss by epoch, one panel a network]({PICTURES}/curves.svg)

Each line is one run: blue on the training images as they were trained on (augmented, with dropout
at work), orange on the validation images."""


def _best(final: Record, studies: Sequence[Record]) -> str:
    own = [one for one in studies if one.group_id == final.group_id]
    summary = summarize(own)[0]
    config = final.config
    variant = final.variant
    parts = [
        f"{variant.conv_blocks} blocks",
        "batch norm" if variant.batch_norm else "",
        f"dropout {variant.dropout}" if variant.dropout else "",
        "augmentation" if variant.augmentation else "",
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
            ["validation, trained on the training images", _spread_of(summary.validation_accuracy)]
        )
    if summary.test_accuracy:
        rows.append(["test, trained on the training images", _spread_of(summary.test_accuracy)])
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
                f"the data set's own {final.own_test.count:,} test images, once",
                f"{final.own_test.accuracy:.4f} (95 %: {low:.4f} to {high:.4f})",
            ]
        )
    described = _paragraph(
        f"""{", ".join(part for part in parts if part)}. It was chosen by validation accuracy among
        the 3-block networks with batch norm, and trained afresh on training and validation images
        together; its test images were never trained on."""
    )
    text = f"""## The released network: `{final.experiment}`

{described}

{_table(["images", "accuracy"], rows)}"""
    if calibration := final.calibration:
        rows = [
            [
                "expected calibration error (15 bins)",
                f"{calibration.error_before:.4f}",
                f"{calibration.error_after:.4f}",
            ],
            ["cross entropy", f"{calibration.loss_before:.4f}", f"{calibration.loss_after:.4f}"],
        ]
        table = _table(["on the test images", "before", "after"], rows)
        text += f"""

### Calibration

Logits are divided by a temperature of {calibration.temperature:.4f}, fitted on the validation
images with the network that had not been trained on them.

{table}"""
    return text


def _spread_of(spread: Spread) -> str:
    return _spread(spread, "{:.4f}")


def _confusion(final: Record) -> str:
    test = final.test
    assert test  # noqa: S101 - the caller has looked
    rows = []
    for number, name in enumerate(_classes(final)):
        row = test.confusion_matrix[number]
        mistaken = max(
            (other for other in range(len(row)) if other != number), key=lambda other: row[other]
        )
        share = row[number] / max(sum(row), 1)
        rows.append([name, f"{share:.3f}", f"{_classes(final)[mistaken]} ({row[mistaken]})"])
    table = _table(["class", "share recognised", "most often taken for"], rows)
    return f"""### What it takes for what

![Confusion matrix]({PICTURES}/confusion.svg)

{table}"""


def _retrieval(final: Record) -> str:
    layers = final.retrieval
    assert layers  # noqa: S101 - the caller has looked
    one = next(iter(layers.values()))
    overall = _table(
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
    by_class = _table(
        ["class", *layers],
        [
            [
                label,
                *(
                    f"{found.precision_at_10:.3f} / {found.mean_average_precision:.3f}"
                    if (found := layer.by_class[number])
                    else ""
                    for layer in layers.values()
                ),
            ]
            for number, label in enumerate(_classes(final))
        ],
    )
    return f"""## How good the neighbours are at each layer

Each of {one.queries:,} test images is the query once, and all the other {one.gallery - 1:,} are
ranked by their cosine to it, exactly. Precision at 10 is the share of the ten nearest that have its
class; mean average precision counts the whole ranking. A blind ranking gets about the share of the
class among the images.

{overall}

![Precision at 10 by layer and class]({PICTURES}/retrieval.svg)

By class, precision at 10 / mean average precision:

{by_class}"""


def _runs(runs: Sequence[Record]) -> str:
    rows = []
    for run in runs:
        where = run.environment
        machine = where.gpu_name or f"{where.cpu_model}, {where.threads} threads"
        speed = f"{run.timing.images_per_second:.0f}" if run.timing else ""
        seconds = f"{run.timing.train:.0f}" if run.timing else ""
        rows.append(
            [
                f"`{run.run_id}`",
                run.status,
                f"{_validation(run):.4f}" if _validation(run) is not None else "",
                f"{_test(run):.4f}" if _test(run) is not None else "",
                seconds,
                speed,
                f"{machine}, {run.config.precision}, torch {where.torch}",
                f"`{(where.git_commit or 'unknown')[:8]}`"
                + (" (changed)" if (where.git_commit or "").endswith("-dirty") else ""),
            ]
        )
    header = ["run", "status", "validation", "test", "seconds", "images/s", "where", "commit"]
    return f"""## Every run

Seconds are those of the training steps alone, after set-up and warm-up.

{_table(header, rows)}"""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def _classes(record: Record) -> Sequence[str]:
    """Their names; their numbers in records that were written before names were kept."""
    if record.dataset.classes:
        return record.dataset.classes
    count = len(record.test.confusion_matrix) if record.test else 0
    return [str(number) for number in range(count)]


def _seconds(record: Record) -> float | None:
    """Of whole runs: those that were given up early took less."""
    if record.timing is None or len(record.curves) < record.config.epochs:
        return None
    return record.timing.train


def _learned(value: Callable[[Record], float | None]) -> Callable[[Record], float | None]:
    return lambda record: None if record.status == "collapsed" else value(record)


def _validation(record: Record) -> float | None:
    return record.validation_accuracy


def _test(record: Record) -> float | None:
    return record.test.accuracy if record.test else None
