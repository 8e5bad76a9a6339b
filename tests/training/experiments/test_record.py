"""Tests of the record of a run and its file."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.factories import made_record
from training.experiments import record
from training.experiments.catalogue import find
from training.experiments.record import RecordError, wilson95

FIELDS = {
    "": "schema_version run_id experiment published_name group_id status stage started_at variant "
    "config seeds dataset environment timing curves test diagnostics published",
    "variant": "conv_blocks batch_norm dropout augmentation",
    "config": "optimizer learning_rate weight_decay decay_decoupled schedule batch_size epochs "
    "label_smoothing precision memory_format compile cuda_graph",
    "seeds": "split init order augment",
    "dataset": "name fingerprint splits",
    "environment": "git_commit python torch cuda cpu_model threads gpu_name concurrent_runs",
    "timing": "setup warmup train evaluate images_per_second peak_memory_bytes",
    "test": "count loss accuracy wilson95 confusion_matrix rows",
    "published": "training_seconds validation_accuracy test_accuracy",
}


def test_a_written_record_can_be_read(tmp_path: Path) -> None:
    made = made_record()
    assert record.read(record.write(made, tmp_path)) == made


def test_a_record_is_one_file_named_after_the_run(tmp_path: Path) -> None:
    record.write(made_record(), tmp_path / "experiments")
    (file,) = (tmp_path / "experiments").iterdir()
    assert file.name == "batchnorm-3-study-seed0.json"


@pytest.mark.parametrize("part", FIELDS)
def test_a_record_has_the_documented_fields(part: str, tmp_path: Path) -> None:
    stored = json.loads(record.write(made_record(), tmp_path).read_text())
    assert set(FIELDS[part].split()) <= set(stored[part] if part else stored)


def test_confusion_matrix_rows_are_the_true_classes(tmp_path: Path) -> None:
    stored = json.loads(record.write(made_record(), tmp_path).read_text())
    assert stored["test"]["rows"] == "true"


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        made_record().status = "failed"  # type: ignore[misc]  # on purpose


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\xff", '{"schema_version": 2}'])
def test_the_error_for_an_invalid_record_names_the_file(content: str, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(RecordError, match=f"{file} is not a record of version 1"):
        record.read(file)


def test_the_error_for_another_version_names_the_field(tmp_path: Path) -> None:
    file = record.write(made_record(), tmp_path)
    file.write_text(file.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(RecordError, match="schema_version"):
        record.read(file)


def test_the_error_for_an_unknown_field_names_it(tmp_path: Path) -> None:
    file = record.write(made_record(), tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "surprise": 1}))
    with pytest.raises(RecordError, match="surprise"):
        record.read(file)


def test_the_error_for_a_missing_record_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.json"):
        record.read(tmp_path / "none.json")


def test_records_of_a_folder_are_read_oldest_first(tmp_path: Path) -> None:
    made = [made_record(seed=seed, hour=hour) for seed, hour in ((0, 5), (1, 1), (2, 3))]
    for one in made:
        record.write(one, tmp_path)
    (tmp_path / "splits").mkdir()
    assert [one.seeds.init for one in record.read_all(tmp_path)] == [1, 2, 0]


def test_a_missing_folder_has_no_records(tmp_path: Path) -> None:
    assert record.read_all(tmp_path / "none") == ()


def test_validation_accuracy_is_that_of_the_last_epoch() -> None:
    assert made_record(validation=0.6).validation_accuracy == 0.6
    assert made_record(curves=()).validation_accuracy is None


# Published values of Wilson's interval: Newcombe (1998), table I, method 3; and its closed form at
# the ends, z^2 / (n + z^2).
@pytest.mark.parametrize(
    ("correct", "count", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (1 - 3.841459 / (29 + 3.841459), 1.0)),
    ],
)
def test_the_wilson_interval_has_its_published_values(
    correct: int, count: int, interval: tuple[float, float]
) -> None:
    assert wilson95(correct, count) == pytest.approx(interval, abs=5e-5)


def test_the_settings_of_a_record_are_those_of_the_experiment() -> None:
    experiment = find("batchnorm-3").with_epochs(7)
    assert made_record(config=experiment.config).settings == experiment
