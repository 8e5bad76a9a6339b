"""Writes `results.md` and its figures from records alone.

Knows records; nothing of networks, images or files.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from training.experiments.aggregate import RunStats, group_runs, summarize
from training.experiments.aggregate import seconds as seconds_by_machine
from training.experiments.catalogue import EIGHT
from training.experiments.config import Regularizer
from training.experiments.record import Record
from training.experiments.reports import release_chapter, seeds
from training.experiments.reports.figures import compared_curves
from training.experiments.reports.gap import chapter as gap_chapter
from training.experiments.reports.markdown import FIGURES, format_stats, paragraph, table

REGULARIZERS: tuple[Regularizer, ...] = ("batchnorm", "dropout", "augmentation", "none")
"""Columns of the course report's tables, in its order."""
_PUBLISHED = """"Published" figures are those of the course report on which this project is based.
They are from one run each. Its augmented runs were validated and tested on augmented images, and
its accuracies are averages over batches. Its validation table swaps none and dropout of three
blocks; the values here are those of its log. Its final network, batch norm with three blocks, was
trained in 133 s. Its test accuracy is 0.8081 in the report and 0.8138 in the notebook. About 70 %
of those test images were training images as well."""


class ReportError(RuntimeError):
    """Raised if there are no runs to report; the message names the command to run."""


def results(records: Iterable[Record], gap: Sequence[Record] = ()) -> dict[str, bytes]:
    """Build the files of the report by their names, `results.md` first.

    If the records are of several data sets or splits, those of the latest study are reported. The
    other runs are listed by name.

    Args:
        records: of studies and final runs.
        gap: of the variations of `batchnorm-3`, if they were run.

    Raises:
        ReportError: no study has finished.

    """
    records = sorted(records, key=lambda record: record.started_at)
    runs_by_name = group_runs(records)
    if not runs_by_name:
        raise ReportError(
            "no records of finished studies; train some with `python -m training sweep`"
        )
    studies = [run for name in _in_order(runs_by_name) for run in runs_by_name[name]]
    figures = {"curves.svg": compared_curves(_layout(runs_by_name), studies)}
    ordered = {name: runs_by_name[name] for name in _in_order(runs_by_name)}
    sections = [
        _introduction(records, studies),
        _comparison(runs_by_name),
        seeds.chapter(ordered),
        _curves(),
    ]
    if base := runs_by_name.get("batchnorm-3"):
        sections.insert(3, gap_chapter([*base, *gap]))
    if final := _released(records, studies):
        sections.append(release_chapter.chapter(final, studies))
        figures |= release_chapter.figures(final)
    sections.append(_runs([*studies, *([final] if final else [])]))
    text = "\n\n".join(sections) + "\n"
    return {
        "results.md": text.encode(),
        **{f"{FIGURES}/{name}": figure for name, figure in figures.items()},
    }


def _in_order(names: Collection[str]) -> list[str]:
    """Sort names: the eight of the report in its order, then the others by name."""
    known = [experiment.name for experiment in EIGHT]
    return [name for name in known if name in names] + sorted({*names} - {*known})


def _layout(names: Collection[str]) -> list[list[str]]:
    present = _in_order(names)
    eight = [[one.name for one in EIGHT if one.variant.conv_blocks == n] for n in (2, 3)]
    rows = [[name for name in row if name in present] for row in eight]
    others = [name for name in present if name not in {*eight[0], *eight[1]}]
    return [row for row in (*rows, others) if row]


def _released(records: Sequence[Record], studies: Sequence[Record]) -> Record | None:
    """Return the latest final run of the settings with the best validation accuracy.

    Only final runs with the test images of these studies count.
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
        and one.variant.width == 1
        and one.group_id in scores
        and one.dataset.splits["test"] == studies[-1].dataset.splits["test"]
    ]
    return max(finals, key=lambda one: (scores[one.group_id], one.started_at), default=None)


def _introduction(records: Sequence[Record], studies: Sequence[Record]) -> str:
    data = studies[-1].dataset
    counts = {name: f"{split.count:,}" for name, split in data.splits.items()}
    numbers = sorted({one.seeds.init for one in studies})
    source = "`python -m training report` writes this page from the records in `experiments/`."
    method = paragraph(
        f"""The data set is `{data.name}` (fingerprint `{data.fingerprint[:16]}`). It is split by
        class into {counts["train"]} training, {counts["validation"]} validation and
        {counts["test"]} test images. A run is tested once, after its last epoch. Accuracies are
        those of the last epoch, over images without augmentation. Seeds:
        {", ".join(map(str, numbers))}. If several runs learned, a figure is their mean ± sample
        standard deviation, with their number.{_excluded(records, studies)}
        """
    )
    parts = ["# Results", source, method]
    if _published(studies):
        parts.append(paragraph(_PUBLISHED))
    return "\n\n".join(parts)


def _published(studies: Iterable[Record]) -> bool:
    """Return whether the course report has figures of these images."""
    return any(one.published for one in studies)


def _excluded(records: Iterable[Record], studies: Sequence[Record]) -> str:
    """List the studies that are not reported: on other images, with other settings, failed."""
    other: dict[tuple[str, str, int], int] = {}
    superseded: list[str] = []
    failed: list[str] = []
    reported = {one.run_id for one in studies}
    for one in records:
        if one.stage != "study" or one.run_id in reported:
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
            ("Runs on other images are excluded", "; ".join(elsewhere)),
            (
                "Runs with earlier settings or another precision are excluded",
                ", ".join(superseded),
            ),
            ("Failed runs", ", ".join(failed)),
        )
        if found
    )


def _comparison(runs_by_name: Mapping[str, Sequence[Record]]) -> str:
    studies = [run for runs in runs_by_name.values() for run in runs]
    parts = ["## The eight networks", f"### Training time, seconds\n\n{_times(runs_by_name)}"]
    for title, value, published in (
        ("Validation accuracy", _validation, "validation_accuracy"),
        ("Test accuracy", _test, "test_accuracy"),
    ):
        ours = {name: _accuracy(runs, value) for name, runs in runs_by_name.items()}
        parts.append(
            f"### {title}\n\n{_report_table({'here': ours}, published, studies, '{:.4f}')}"
        )
    collapsed = [run.run_id for run in studies if run.status == "collapsed"]
    if collapsed:
        listed = ", ".join(f"`{name}`" for name in collapsed)
        parts.append(
            paragraph(
                "Collapsed runs ended at the chance training loss and are not in the accuracies: "
                f"{listed}."
            )
        )
    return "\n\n".join(parts)


def _times(runs_by_name: Mapping[str, Sequence[Record]]) -> str:
    """Build the table of seconds, one row per machine: times of machines are not averaged."""
    rows: dict[str, dict[str, str]] = {}
    for name in _in_order(runs_by_name):
        for machine, stats in seconds_by_machine(runs_by_name[name]).items():
            rows.setdefault(f"here, {machine}", {})[name] = format_stats(stats, "{:.0f}")
    studies = [run for runs in runs_by_name.values() for run in runs]
    times = _report_table(rows or {"here": {}}, "training_seconds", studies, "{:.2f}")
    if not _published(studies):
        return times
    note = """The seconds here are those of the training steps alone; the published ones are of
        whole epochs with validation. Evaluation adds {:.0%} here."""
    timed = [one.timing for one in studies if one.timing and one.timing.train]
    if not timed:
        return times
    more = sum(one.evaluate for one in timed) / sum(one.train for one in timed)
    return f"{times}\n\n{paragraph(note.format(more))}"


def _report_table(
    ours: Mapping[str, Mapping[str, str]], published: str, studies: Collection[Record], form: str
) -> str:
    """Build a table like the course report's: its figures, then rows of ours by experiment."""
    rows = []
    studied = {one.experiment for one in studies}
    for blocks in (2, 3):
        shown = {one.regularizer: one for one in EIGHT if one.variant.conv_blocks == blocks}
        if _published(studies):
            figures = [getattr(shown[name].published, published) for name in REGULARIZERS]
            rows.append([str(blocks), "published", *(form.format(one) for one in figures)])
        for label, cells in ours.items():
            names = [shown[name].name for name in REGULARIZERS]
            found = [cells.get(name, "-" if name in studied else "not run") for name in names]
            rows.append([str(blocks), label, *found])
    return table(["blocks", "", "batch norm", "dropout", "augmentation", "none"], rows)


def _accuracy(runs: Sequence[Record], value: Callable[[Record], float | None]) -> str:
    learned = [one for one in runs if one.status != "collapsed"]
    values = [found for one in learned if (found := value(one)) is not None]
    collapsed = len(runs) - len(learned)
    note = f" ({collapsed} of {len(runs)} collapsed)" if collapsed else ""
    if not values:
        return f"none learned{note}" if collapsed else "-"
    return f"{format_stats(RunStats.of(values), '{:.4f}')}{note}"


def _curves() -> str:
    return f"""## Learning curves

![Accuracy and loss by epoch, one panel for each network]({FIGURES}/curves.svg)

Each run has a blue line for the training images, with augmentation and dropout, and an orange line
for the validation images."""


def _runs(runs: Sequence[Record]) -> str:
    rows = []
    for run in runs:
        commit = run.environment.git_commit or "unknown"
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
                f"{run.machine}, torch {run.environment.torch}",
                f"`{commit[:8]}`" + (" (modified)" if commit.endswith("-dirty") else ""),
            ]
        )
    header = ["run", "status", "validation", "test", "seconds", "images/s", "machine", "commit"]
    return f"""## Every run

Seconds are those of the training steps alone, without set-up, warm-up and evaluation.

{table(header, rows)}"""


def _validation(record: Record) -> float | None:
    return record.validation_accuracy


def _test(record: Record) -> float | None:
    return record.test.accuracy if record.test else None
