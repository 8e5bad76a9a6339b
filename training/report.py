"""`results.md` and its pictures, from records alone: every figure in it can be found in one.

Knows records; nothing of networks, images or files.
"""

import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from training.experiments import EIGHT, Regularizer
from training.figures import compared_curves, confusion_matrix, retrieval_by_layer
from training.record import Evaluation, Record
from training.summary import Spread, repeats, seconds, summarize

PICTURES = "results"
"""Folder of the pictures, beside `results.md`."""
LISTED = 20
"""So many classes are listed; of more, those with which it has the most trouble."""
REGULARIZERS: tuple[Regularizer, ...] = ("batchnorm", "dropout", "augmentation", "none")
"""The columns of the report's tables, in its order."""
_PUBLISHED = """"Published" is the course report that this project grew out of: one run each,
augmented runs validated and tested on augmented images, accuracies averaged over batches."""


class ReportError(RuntimeError):
    """There is nothing to report; the message says what is missing."""


def results(records: Iterable[Record]) -> dict[str, bytes]:
    """The files of the report by their names, `results.md` first.

    Where there are records of several data sets, or splits of one, the latest study's are reported
    and the others are named.

    Raises:
        ReportError: there is no study that came to an end.

    """
    records = sorted(records, key=lambda record: record.started_at)
    counted = repeats(records)
    if not counted:
        raise ReportError(
            "no records of finished studies: make some with `python -m training suite`"
        )
    studies = [run for name in _in_order(counted) for run in counted[name]]
    pictures = {"curves.svg": compared_curves(_layout(counted), studies)}
    sections = [_head(records, studies), _comparison(counted), _curves()]
    if final := _released(records, studies):
        sections.append(_best(final, studies))
        if final.test:
            if matrix := final.test.confusion_matrix:
                pictures["confusion.svg"] = confusion_matrix(matrix, _classes(final))
            sections.append(_confusion(final, final.test))
        if final.retrieval:
            pictures["retrieval.svg"] = retrieval_by_layer(final.retrieval, _classes(final))
            sections.append(_retrieval(final))
    sections.append(_runs([*studies, *([final] if final else [])]))
    text = "\n\n".join(sections) + "\n"
    return {
        "results.md": text.encode(),
        **{f"{PICTURES}/{name}": picture for name, picture in pictures.items()},
    }


def _in_order(names: Collection[str]) -> list[str]:
    """The eight in their order, then whatever else there is."""
    known = [experiment.name for experiment in EIGHT]
    return [name for name in known if name in names] + sorted({*names} - {*known})


def _layout(names: Collection[str]) -> list[list[str]]:
    present = _in_order(names)
    eight = [[one.name for one in EIGHT if one.variant.conv_blocks == n] for n in (2, 3)]
    rows = [[name for name in row if name in present] for row in eight]
    others = [name for name in present if name not in {*eight[0], *eight[1]}]
    return [row for row in (*rows, others) if row]


def _released(records: Sequence[Record], studies: Sequence[Record]) -> Record | None:
    """The latest final run of the settings with the best validation accuracy in these studies.

    It held out the same test images: those of another split say nothing of these.
    """
    scores = {
        summary.group_id: summary.validation_accuracy.mean
        for summary in summarize(studies)
        if summary.validation_accuracy
    }
    finals = [
        one
        for one in records
        if one.stage == "final"
        and one.status != "failed"
        and one.group_id in scores
        and one.dataset.splits["test"] == studies[-1].dataset.splits["test"]
    ]
    return max(finals, key=lambda one: (scores[one.group_id], one.started_at), default=None)


def _head(records: Sequence[Record], studies: Sequence[Record]) -> str:
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
        with their number. {_PUBLISHED if _published(studies) else ""}{_left_out(records, studies)}
        """
    )
    return f"# Results\n\n{made}\n\n{method}"


def _published(studies: Iterable[Record]) -> bool:
    """Whether the report's figures are of these images."""
    return any(one.published for one in studies)


def _left_out(records: Iterable[Record], studies: Sequence[Record]) -> str:
    """What there is on other images, or on these split otherwise; not left out in silence."""
    other: dict[tuple[str, str, int], int] = {}
    for one in records:
        if one.stage == "study" and one.status != "failed" and not one.same_images(studies[-1]):
            key = one.dataset.name, one.dataset.fingerprint[:8], one.seeds.split
            other[key] = other.get(key, 0) + 1
    named = (
        f"{count} on `{name}` (fingerprint `{fingerprint}`), split seed {seed}"
        for (name, fingerprint, seed), count in other.items()
    )
    return f" Runs of other images are left out: {'; '.join(named)}." if other else ""


def _comparison(counted: Mapping[str, Sequence[Record]]) -> str:
    studies = [run for runs in counted.values() for run in runs]
    parts = ["## The eight networks", f"### Training time, seconds\n\n{_times(counted)}"]
    for title, value, published in (
        ("Validation accuracy", _validation, "validation_accuracy"),
        ("Test accuracy", _test, "test_accuracy"),
    ):
        ours = {name: _accuracy(runs, value) for name, runs in counted.items()}
        parts.append(f"### {title}\n\n{_eight({'here': ours}, published, studies, '{:.4f}')}")
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


def _times(counted: Mapping[str, Sequence[Record]]) -> str:
    """One row a machine: there is no mean of seconds on two."""
    rows: dict[str, dict[str, str]] = {}
    for name in _in_order(counted):
        for machine, taken in seconds(counted[name]).items():
            rows.setdefault(f"here, {machine}", {})[name] = _spread(taken, "{:.0f}")
    studies = [run for runs in counted.values() for run in runs]
    return _eight(rows or {"here": {}}, "training_seconds", studies, "{:.2f}")


def _eight(
    ours: Mapping[str, Mapping[str, str]], published: str, studies: Collection[Record], form: str
) -> str:
    """A table as the report has it: what it published, then our rows of cells by experiment."""
    rows = []
    run = {one.experiment for one in studies}
    for blocks in (2, 3):
        shown = {one.regularizer: one for one in EIGHT if one.variant.conv_blocks == blocks}
        if _published(studies):
            figures = [getattr(shown[name].published, published) for name in REGULARIZERS]
            rows.append([str(blocks), "published", *(form.format(one) for one in figures)])
        for label, cells in ours.items():
            names = [shown[name].name for name in REGULARIZERS]
            found = [cells.get(name, "-" if name in run else "not run") for name in names]
            rows.append([str(blocks), label, *found])
    return _table(["blocks", "", "batch norm", "dropout", "augmentation", "none"], rows)


def _accuracy(runs: Sequence[Record], value: Callable[[Record], float | None]) -> str:
    learned = [one for one in runs if one.status != "collapsed"]
    values = [found for one in learned if (found := value(one)) is not None]
    lost = len(runs) - len(learned)
    note = f" ({lost} of {len(runs)} collapsed)" if lost else ""
    if not values:
        return f"none learned{note}" if lost else "-"
    return f"{_spread(Spread.of(values), '{:.4f}')}{note}"


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
    parts.append(_table(["class", "share recognised", "most often taken for"], rows))
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
        parts.append(_table(["class", "taken for", "images"], listed))
    return "\n\n".join(parts)


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
    classes = _classes(final)
    last = list(layers.values())[-1].by_class

    def precision(number: int) -> float:
        found = last[number]
        return found.precision_at_10 if found else 1.0

    shown = list(range(len(classes)))
    if few := len(classes) > LISTED:
        shown = sorted(shown, key=precision)[:LISTED]
    by_class = _table(
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
    return f"""## How good the neighbours are at each layer

Each of {one.queries:,} test images is the query once, and all the other {one.gallery - 1:,} are
ranked by their cosine to it, exactly. Precision at 10 is the share of the ten nearest that have its
class; mean average precision counts the whole ranking. A blind ranking gets about the share of the
class among the images.

{overall}

![Precision at 10 by layer and class]({PICTURES}/retrieval.svg)

By class{which}, precision at 10 / mean average precision:

{by_class}"""


def _runs(runs: Sequence[Record]) -> str:
    rows = []
    for run in runs:
        where = run.environment
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
                f"{run.machine}, torch {where.torch}",
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
    matrix = record.test.confusion_matrix if record.test else None
    return [str(number) for number in range(len(matrix or ()))]


def _validation(record: Record) -> float | None:
    return record.validation_accuracy


def _test(record: Record) -> float | None:
    return record.test.accuracy if record.test else None
