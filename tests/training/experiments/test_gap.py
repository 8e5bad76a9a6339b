"""Tests of the chapter on the variations of `batchnorm-3`."""

from tests.support.factories import epoch, made_record
from training.experiments.record import Evaluation, Record
from training.experiments.reports.gap import chapter


def run(name: str, *validation: float, fp32: float | None = None, seed: int = 0) -> Record:
    curves = tuple(epoch(number, validation=one) for number, one in enumerate(validation, 1))
    evaluation = (
        Evaluation(
            count=100, loss=1, accuracy=fp32, wilson95=(0, 1), confusion_matrix=((1, 0), (0, 1))
        )
        if fp32
        else None
    )
    update = {"experiment": name, "curves": curves, "validation": evaluation}
    return made_record(seed=seed).model_copy(update=update)


def rows(*runs: Record) -> list[list[str]]:
    lines = [line for line in chapter(runs).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_noise_of_the_last_epochs_is_shown_beside_the_last() -> None:
    (found,) = rows(run("batchnorm-3", 0.5, 0.78, 0.80, 0.76))
    assert found == ["the study of the eight", "0.7600", "0.7800", "0.8000", "-"]


def test_variations_follow_in_order_with_their_evaluation_at_fp32() -> None:
    found = rows(
        run("batchnorm-3-encoded-3", 0.70, fp32=0.701),
        run("batchnorm-3-as-recorded", 0.75, fp32=0.7512),
        run("batchnorm-3", 0.74),
    )
    assert [(row[0], row[-1]) for row in found] == [
        ("the study of the eight", "-"),
        ("as it is", "0.7512"),
        ("images encoded twice more", "0.7010"),
    ]


def test_several_seeds_give_a_mean_and_a_deviation() -> None:
    (found,) = rows(run("batchnorm-3", 0.74), run("batchnorm-3", 0.76, seed=1))
    assert found[1] == "0.7500 ± 0.0141, 2 runs"
