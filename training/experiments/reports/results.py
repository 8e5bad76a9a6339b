"""`results.md` and its pictures, from records alone: every figure in it can be found in one.

Knows records; nothing of networks, images or files.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from training.experiments.aggregate import RunStats, group_runs, seconds, summarize
from training.experiments.catalogue import EIGHT
from training.experiments.config import Regularizer
from training.experiments.record import Record
from training.experiments.reports import release_chapter
from training.experiments.reports.figures import compared_curves
from training.experiments.reports.markdown import PICTURES, format_stats, paragraph, table

REGULARIZERS: tuple[Regularizer, ...] = ("batchnorm", "dropout", "augmentation", "none")
"""The columns of the report's tables, in its order."""
_PUBLISHED = """"Published" is the course report that this project grew out of: one run each,
augmented runs validated and tested on augmented images, accuracies averaged over batches. Its
validation table swaps none and dropout of three blocks; here each has what its log shows. Its final
network, batch norm of three blocks, came to 0.8081 in its text and 0.8138 in its notebook after
133 s, on test images of which about 70 % had been trained on."""


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
    counted = group_runs(records)
    if not counted:
        raise ReportError(
            "no records of finished studies: make some with `python -m training sweep`"
        )
    studies = [run for name in _in_order(counted) for run in counted[name]]
    pictures = {"curves.svg": compared_curves(_layout(counted), studies)}
    sections = [_head(records, studies), _comparison(counted), _curves()]
    if final := _released(records, studies):
        sections.append(release_chapter.chapter(final, studies))
        pictures |= release_chapter.pictures(final)
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
    made = paragraph(
        "Written by `python -m training report` from the records in `experiments/`: nothing in "
        "it is typed."
    )
    method = paragraph(
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
    """What there is besides: on other images, by other settings, failed; not in silence."""
    other: dict[tuple[str, str, int], int] = {}
    superseded: list[str] = []
    failed: list[str] = []
    counted = {one.run_id for one in studies}
    for one in records:
        if one.stage != "study" or one.run_id in counted:
            continue
        if one.status == "failed":
            failed.append(f"`{one.run_id}`")
        elif one.same_images(studies[-1]):
            superseded.append(f"`{one.run_id}`")
        else:
            key = one.dataset.name, one.dataset.fingerprint[:8], one.seeds.split
            other[key] = other.get(key, 0) + 1
    elsewhere = (
        f"{count} on `{name}` (fingerprint `{fingerprint}`), split seed {seed}"
        for (name, fingerprint, seed), count in other.items()
    )
    return "".join(
        f" {what}: {found}."
        for what, found in (
            ("Runs of other images are left out", "; ".join(elsewhere)),
            (
                "Runs by earlier settings, or at another precision, are left out",
                ", ".join(superseded),
            ),
            ("These failed", ", ".join(failed)),
        )
        if found
    )


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
            paragraph(
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
            rows.setdefault(f"here, {machine}", {})[name] = format_stats(taken, "{:.0f}")
    studies = [run for runs in counted.values() for run in runs]
    told = _eight(rows or {"here": {}}, "training_seconds", studies, "{:.2f}")
    if not _published(studies):
        return told
    note = """Ours are of the training steps alone; those published are of whole epochs, validation
        and all. To evaluate takes ours {:.0%} more."""
    timed = [one.timing for one in studies if one.timing and one.timing.train]
    if not timed:
        return told
    more = sum(one.evaluate for one in timed) / sum(one.train for one in timed)
    return f"{told}\n\n{paragraph(note.format(more))}"


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
    return table(["blocks", "", "batch norm", "dropout", "augmentation", "none"], rows)


def _accuracy(runs: Sequence[Record], value: Callable[[Record], float | None]) -> str:
    learned = [one for one in runs if one.status != "collapsed"]
    values = [found for one in learned if (found := value(one)) is not None]
    lost = len(runs) - len(learned)
    note = f" ({lost} of {len(runs)} collapsed)" if lost else ""
    if not values:
        return f"none learned{note}" if lost else "-"
    return f"{format_stats(RunStats.of(values), '{:.4f}')}{note}"


def _curves() -> str:
    return f"""## Learning curves

![Accuracy and loss by epoch, one panel a network]({PICTURES}/curves.svg)

Each line is one run: blue on the training images as they were trained on (augmented, with dropout
at work), orange on the validation images."""


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

{table(header, rows)}"""


def _validation(record: Record) -> float | None:
    return record.validation_accuracy


def _test(record: Record) -> float | None:
    return record.test.accuracy if record.test else None
