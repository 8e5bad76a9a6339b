"""Tests of the summaries of several runs."""

import pytest

from tests.support.factories import epoch, made_record
from training.experiments.aggregate import Summary, group_runs, seconds, summarize
from training.experiments.record import DatasetRef, Environment, Record, SplitRef
from training.experiments.reports.results import results


def dataset_split_by(letter: str) -> DatasetRef:
    """Return the data set of `made_record` with other test images."""
    splits = {"test": SplitRef(count=1000, indices_sha256=letter * 64)}
    return DatasetRef(name="tiny", fingerprint="f" * 64, splits=splits)


def with_three_parts(record: Record) -> DatasetRef:
    """Return the record's data set with the three parts that a report needs."""
    data = record.dataset
    three = dict.fromkeys(("train", "validation", "test"), data.splits["test"])
    return data.model_copy(update={"splits": three})


def gpu() -> Environment:
    return made_record().environment.model_copy(update={"gpu_name": "Some GPU"})


def summaries(*records: Record) -> dict[str, Summary]:
    return {summary.name: summary for summary in summarize(records)}


def test_a_summary_has_mean_and_sample_standard_deviation() -> None:
    runs = [made_record(validation=v, seed=s) for s, v in enumerate((0.70, 0.74, 0.81))]
    stats = summaries(*runs)["batchnorm-3"].validation_accuracy
    assert stats
    assert (stats.n, stats.min, stats.max) == (3, 0.70, 0.81)
    assert stats.mean == pytest.approx(0.75)
    assert stats.std == pytest.approx(((0.05**2 + 0.01**2 + 0.06**2) / 2) ** 0.5)  # ddof 1


def test_one_run_has_no_standard_deviation() -> None:
    stats = summaries(made_record())["batchnorm-3"].test_accuracy
    assert stats
    assert (stats.n, stats.std) == (1, None)


def test_test_accuracy_and_seconds_are_summarized() -> None:
    runs = [
        made_record(test=0.6, seconds=10),
        made_record(test=0.8, seconds=30, seed=1),
    ]
    summary = summaries(*runs)["batchnorm-3"]
    assert summary.test_accuracy
    assert summary.training_seconds
    assert summary.test_accuracy.mean == pytest.approx(0.7)
    assert summary.training_seconds.mean == pytest.approx(20)


def test_final_and_failed_runs_are_not_summarized() -> None:
    runs = [made_record(stage="final", validation=None), made_record(status="failed")]
    assert summaries(*runs) == {}


def test_collapsed_runs_are_counted_but_not_averaged() -> None:
    runs = [made_record(), made_record(status="collapsed", validation=0.1, test=0.1, seed=1)]
    summary = summaries(*runs)["batchnorm-3"]
    assert (summary.runs, summary.collapsed) == (2, 1)
    for stats, value in ((summary.validation_accuracy, 0.8), (summary.test_accuracy, 0.7)):
        assert stats
        assert (stats.mean, stats.n) == (value, 1)


def test_if_all_runs_collapsed_there_is_no_accuracy() -> None:
    summary = summaries(made_record("none-3", status="collapsed"))["none-3"]
    assert (summary.runs, summary.collapsed) == (1, 1)
    assert (summary.validation_accuracy, summary.test_accuracy) == (None, None)


def test_the_report_has_the_figures_of_the_summary() -> None:
    runs = [
        made_record("none-2", validation=0.61234),
        made_record("none-2", seed=1, status="collapsed", validation=0.1),
        made_record("none-2", seed=2, dataset=dataset_split_by("b"), hour=-1),
    ]
    (summary,) = summarize(runs)
    assert summary.validation_accuracy
    files = results([one.model_copy(update={"dataset": with_three_parts(one)}) for one in runs])
    text = files["results.md"].decode()
    assert f"{summary.validation_accuracy.mean:.4f} (1 of 2 collapsed)" in text


def test_only_runs_on_the_images_of_the_latest_run_are_grouped() -> None:
    """Runs on another split do not count either, since their test images differ."""
    runs = [
        made_record(validation=0.9, fingerprint="e" * 64, group_id="same"),
        made_record(validation=0.8, dataset=dataset_split_by("b"), group_id="same", hour=1, seed=1),
        made_record(validation=0.7, group_id="same", hour=2, seed=2),
    ]
    stats = summaries(*runs)["batchnorm-3"].validation_accuracy
    assert stats
    assert (stats.mean, stats.n) == (0.7, 1)
    assert {one.seeds.init for one in group_runs(runs)["batchnorm-3"]} == {2}


def test_seconds_are_those_of_the_latest_machine() -> None:
    """Seconds of different machines are not averaged."""
    runs = [
        made_record(seconds=500, hour=0),
        made_record(seconds=20, hour=1, seed=1, environment=gpu()),
        made_record(seconds=22, hour=2, seed=2, environment=gpu()),
    ]
    summary = summaries(*runs)["batchnorm-3"]
    assert summary.training_seconds
    assert (summary.training_seconds.mean, summary.training_seconds.n) == (21, 2)
    assert summary.machine == "Some GPU, auto"
    assert {name: one.n for name, one in seconds(runs).items()} == {
        "some, 2 threads, auto": 1,
        "Some GPU, auto": 2,
    }


def test_seconds_are_grouped_by_threads_and_precision() -> None:
    fp32 = made_record().config.model_copy(update={"precision": "fp32"})
    one = made_record().environment
    runs = [
        made_record(),
        made_record(environment=one.model_copy(update={"threads": 8})),
        made_record(config=fp32),
    ]
    assert [stats.n for stats in seconds(runs).values()] == [1, 1, 1]


def test_runs_that_ended_early_have_no_seconds() -> None:
    ended_early = made_record(status="collapsed", curves=(epoch(1),), seconds=7)
    assert summaries(ended_early)["batchnorm-3"].training_seconds is None


def test_seconds_of_a_run_that_shared_the_processor_are_left_out() -> None:
    beside = made_record().environment.model_copy(update={"concurrent_runs": 7})
    runs = [made_record(seconds=60), made_record(seconds=600, environment=beside, seed=1)]
    summary = summaries(*runs)["batchnorm-3"]
    assert summary.runs == 2
    assert summary.training_seconds
    assert (summary.training_seconds.mean, summary.training_seconds.n) == (60, 1)


def test_only_runs_with_the_latest_settings_are_summarized() -> None:
    old = made_record(validation=0.9, group_id="old", hour=0)
    new = made_record(validation=0.8, group_id="new", hour=1, seed=1)
    summary = summaries(new, old)["batchnorm-3"]
    assert (summary.group_id, summary.runs) == ("new", 1)


def test_summaries_are_sorted_by_name_and_have_the_published_figures() -> None:
    found = summarize([made_record("none-2"), made_record("batchnorm-3"), made_record("dropout-2")])
    assert [summary.name for summary in found] == ["batchnorm-3", "dropout-2", "none-2"]
    assert found[0].published == made_record().published


def test_a_run_without_results_does_not_affect_the_means() -> None:
    nothing = {"curves": (), "test": None, "timing": None}
    bare = made_record(seed=1).model_copy(update=nothing)
    summary = summaries(made_record(), bare)["batchnorm-3"]
    assert summary.test_accuracy
    assert (summary.runs, summary.test_accuracy.n) == (2, 1)
