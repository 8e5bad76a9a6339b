"""Tests that the report has the figures of the records."""

import pytest

from tests.support.factories import epoch, made_record
from training.experiments.catalogue import EIGHT, find
from training.experiments.record import (
    DatasetRef,
    Evaluation,
    LayerRetrieval,
    NearDuplicates,
    Ranking,
    Record,
    SplitRef,
)
from training.experiments.reports.results import ReportError, results
from training.models.measurements import Calibration

SPLITS = {
    name: SplitRef(count=count, indices_sha256="a" * 64)
    for name, count in (("train", 3500), ("validation", 750), ("test", 1000))
}
DATA = DatasetRef(name="tiny", fingerprint="f" * 64, splits=SPLITS, classes=("cat", "dog"))


def study(name: str, **update: object) -> Record:
    return made_record(name, dataset=DATA, **update)  # type: ignore[arg-type]


def final(**update: object) -> Record:
    good = Ranking(precision_at_10=0.654, mean_average_precision=0.321)
    layer = LayerRetrieval(
        dimension=8192, queries=1000, gallery=1000, overall=good, by_class=(good, None)
    )
    calibration = Calibration(
        temperature=1.2345,
        error_before=0.0611,
        error_after=0.0122,
        loss_before=0.7133,
        loss_after=0.6544,
    )
    test = Evaluation(
        count=1000,
        loss=0.5,
        accuracy=0.8123,
        wilson95=(0.78, 0.84),
        confusion_matrix=((400, 100), (88, 412)),
    )
    measured = {
        "calibration": calibration,
        "test": test,
        "retrieval": {"conv2": layer},
        "own_test": test.model_copy(update={"count": 10_000, "accuracy": 0.8012}),
    }
    return made_record(stage="final", hour=9).model_copy(
        update={"dataset": DATA, "run_id": "final-run", **measured, **update}
    )


def text(*records: Record) -> str:
    return results(records)["results.md"].decode()


def rows(report: str, title: str) -> list[list[str]]:
    table = report.split(f"### {title}")[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_published_and_own_figures_are_in_one_table() -> None:
    report = text(*(study(one.name, seconds=50.0) for one in EIGHT))
    found = rows(report, "Training time, seconds")
    assert found[0] == ["blocks", "", "batch norm", "dropout", "augmentation", "none"]
    assert found[2] == ["2", "published", "106.56", "103.00", "136.60", "109.15"]
    assert found[3] == ["2", "here, some, 2 threads, auto", "50", "50", "50", "50"]
    assert found[4] == ["3", "published", "115.19", "108.60", "147.88", "118.60"]


def test_several_seeds_give_a_mean_and_a_standard_deviation() -> None:
    report = text(
        *(study("none-2", validation=v, seed=s) for s, v in enumerate((0.70, 0.72, 0.74)))
    )
    assert rows(report, "Validation accuracy")[3][-1] == "0.7200 ± 0.0200, 3 runs"
    assert "Seeds: 0, 1, 2." in report


def test_every_seed_is_listed_and_experiments_are_compared_in_words() -> None:
    accuracies = {"none-2": (0.700, 0.702, 0.705), "dropout-2": (0.750, 0.751, 0.756)}
    runs = [
        study(name, test=one, seed=seed)
        for name, values in accuracies.items()
        for seed, one in enumerate(values)
    ]
    report = text(*runs, study("none-3", seed=1, status="collapsed"))
    chapter = report.split("## Seeds")[1].split("\n## ")[0]
    assert "| network | seed 0 | seed 1 | seed 2 |" in chapter
    assert "| `none-2` | 0.7000 | 0.7020 | 0.7050 |" in chapter
    assert "| `none-3` | - | collapsed | - |" in chapter
    assert "- dropout-2 is 5.00 points above none-2 over 3 seeds: larger" in chapter


def test_collapsed_runs_are_counted_but_not_averaged() -> None:
    runs = [
        study("none-3", validation=0.75, seed=0),
        study("none-3", validation=0.10, seed=1, status="collapsed"),
    ]
    report = text(*runs)
    assert rows(report, "Validation accuracy")[5][-1] == "0.7500 (1 of 2 collapsed)"
    assert "`none-3-study-seed1`" in report.split("Collapsed")[1]
    alone = text(runs[1])
    assert rows(alone, "Test accuracy")[5][-1] == "none learned (1 of 1 collapsed)"


def test_runs_that_ended_early_have_no_training_time() -> None:
    config = made_record("none-3").config
    ended_early = study("none-3", status="collapsed", curves=(epoch(1),), seconds=7.0)
    assert len(ended_early.curves) < config.epochs
    assert rows(text(ended_early), "Training time, seconds")[5][-1] == "-"


def test_each_machine_has_its_own_row_of_seconds() -> None:
    gpu = made_record().environment.model_copy(update={"gpu_name": "Some GPU"})
    runs = [
        study("none-2", seconds=400.0),
        study("none-2", seconds=20.0, seed=1, environment=gpu, hour=1),
        study("none-3", seconds=30.0, seed=1, environment=gpu, hour=1),
    ]
    found = {tuple(row[:2]): row[-1] for row in rows(text(*runs), "Training time, seconds")}
    assert found["2", "here, some, 2 threads, auto"] == "400"
    assert found["2", "here, Some GPU, auto"] == "20"
    assert found["3", "here, some, 2 threads, auto"] == "-"
    assert found["3", "here, Some GPU, auto"] == "30"


def test_published_figures_of_other_images_are_not_shown() -> None:
    """The course report used CIFAR-10."""
    report = text(study("none-2", published=None))
    assert "ublished" not in report
    assert [row[1] for row in rows(report, "Test accuracy")[2:]] == ["here", "here"]


def test_runs_on_another_split_are_excluded_and_listed() -> None:
    other = DATA.model_copy(
        update={"splits": SPLITS | {"test": SplitRef(count=1000, indices_sha256="b" * 64)}}
    )
    seven = made_record().seeds.model_copy(update={"split": 7})
    runs = [
        study("none-2", validation=0.9, seed=1).model_copy(update={"dataset": other}),
        study("none-2", validation=0.7, hour=1, seeds=seven),
    ]
    report = text(*runs)
    assert rows(report, "Validation accuracy")[3][-1] == "0.7000"
    plain = " ".join(report.split())
    assert "excluded: 1 on `tiny` (fingerprint `ffffffff`), split seed 0." in plain


def test_runs_with_earlier_settings_and_failed_runs_are_listed() -> None:
    runs = [
        study("none-2", validation=0.9, run_id="before", group_id="a"),
        study("none-2", validation=0.7, run_id="after", group_id="b", hour=1),
        study("none-3", status="failed", run_id="broken", hour=2),
    ]
    plain = " ".join(text(*runs).split())
    assert "Runs with earlier settings or another precision are excluded: `before`." in plain
    assert "Failed runs: `broken`." in plain
    assert "excluded" not in text(runs[1])


def test_the_report_defines_its_seconds() -> None:
    report = " ".join(text(study("none-2")).split())
    assert "The seconds here are those of the training steps alone" in report


def test_an_experiment_without_runs_is_marked_not_run() -> None:
    assert rows(text(study("none-2")), "Test accuracy")[5][-1] == "not run"


def test_failed_runs_and_other_data_are_not_in_the_tables() -> None:
    elsewhere = made_record("none-2", validation=0.11, fingerprint="e" * 64)
    failed = study("none-2", status="failed", validation=0.22)
    report = text(elsewhere, failed, study("none-2", hour=1))
    assert rows(report, "Validation accuracy") == rows(
        text(study("none-2", hour=1)), "Validation accuracy"
    )
    assert "0.1100" not in report
    assert "0.2200" not in report


def test_only_runs_with_the_latest_settings_are_reported() -> None:
    old = study("none-2", validation=0.11).model_copy(update={"group_id": "before"})
    report = text(old, study("none-2", validation=0.7, hour=1))
    assert rows(report, "Validation accuracy")[3][-1] == "0.7000"


def test_without_studies_an_error_names_the_command() -> None:
    for records in ([], [final()], [study("none-2", status="failed")]):
        with pytest.raises(ReportError, match="python -m training sweep"):
            results(records)


def test_the_report_has_the_figures_of_the_released_network() -> None:
    report = text(study("batchnorm-3", validation=0.8), final())
    for figure in (
        "**0.8123** (95 %: 0.7800 to 0.8400)",
        "own 10,000 test images | 0.8012",
        "temperature of 1.2345",
        "| 0.0611 | 0.0122 |",
        "| 0.7133 | 0.6544 |",
        "| cat | 0.800 | dog (100) |",
        "| dog | 0.824 | cat (88) |",
        "| conv2 | 8192 | 0.654 | 0.321 |",
        "| cat | 0.654 / 0.321 |",
    ):
        assert figure in report


def test_the_report_has_the_accuracy_without_near_duplicates() -> None:
    found = NearDuplicates(count=12, threshold=0.78, accuracy_with=0.98, accuracy_without=0.8012)
    report = text(study("batchnorm-3"), final(near_duplicates=found))
    assert "without a near-duplicate in training (all but 12) | 0.8012 |" in report
    assert "near-duplicate" not in text(study("batchnorm-3"), final())


def test_the_report_has_all_settings_of_the_released_network() -> None:
    best = find("best-3")
    report = text(
        study("best-3"), final(experiment="best-3", variant=best.variant, config=best.config,
                               group_id=study("best-3").group_id)
    )  # fmt: skip
    for part in ("CutMix for 50% of the images", "cut-outs of 8 pixels", "mirrored", "Muon at 2.5"):
        assert part in " ".join(report.split())
    assert "chosen by validation accuracy among the 3-block networks" in " ".join(report.split())


def test_a_network_selected_by_name_is_not_reported_as_chosen() -> None:
    two = find("dropout-2")
    report = text(
        study("dropout-2"), final(experiment="dropout-2", variant=two.variant,
                                  group_id=study("dropout-2").group_id)
    )  # fmt: skip
    assert "selected by name" in report
    assert "chosen by validation accuracy" not in " ".join(report.split())


def test_the_report_shows_exactly_the_figures_that_it_comes_with() -> None:
    files = results([study("batchnorm-3"), final()])
    figures = {name for name in files if name != "results.md"}
    report = files["results.md"].decode()
    assert figures == {f"results/{name}.svg" for name in ("curves", "confusion", "retrieval")}
    assert all(f"]({name})" in report for name in figures)


def test_a_final_run_with_other_settings_is_not_the_released_one() -> None:
    assert "released" not in text(study("batchnorm-3"), final(group_id="other"))


def test_every_run_is_listed_with_its_machine() -> None:
    report = text(study("none-2"), study("batchnorm-3"), final())
    listed = report.split("## Every run")[1]
    for name in ("none-2-study-seed0", "batchnorm-3-study-seed0", "final-run"):
        assert f"`{name}`" in listed
    assert "some, 2 threads" in listed


def test_equal_records_give_equal_bytes() -> None:
    records = [study("batchnorm-3"), final()]
    assert results(records) == results(records)
