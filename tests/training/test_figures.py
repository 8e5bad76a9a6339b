"""Figures from records."""

import warnings
import xml.etree.ElementTree as ET

from tests.training.made import made_record
from training.figures import learning_curves
from training.record import Record

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(figure).iter(f"{SVG}text")]  # noqa: S314 - our own


def lines(figure: bytes) -> int:
    """Lines drawn in our two colours, without those of the legends."""
    drawn = ET.fromstring(figure).iter(f"{SVG}g")  # noqa: S314 - our own
    own = [group for group in drawn if (group.get("id") or "").startswith("axes_")]
    return sum((g.get("id") or "").startswith("line2d") for axes in own for g in axes)


def curves(*records: Record) -> bytes:
    return learning_curves("batchnorm-3", records)


def test_it_is_svg() -> None:
    assert ET.fromstring(curves(made_record())).tag == f"{SVG}svg"  # noqa: S314 - our own


def test_equal_records_give_equal_bytes() -> None:
    assert curves(made_record()) == curves(made_record())


def test_other_records_give_another_figure() -> None:
    assert curves(made_record()) != curves(made_record(validation=0.3))


def test_it_says_what_it_shows() -> None:
    said = texts(curves(made_record()))
    for text in ("batchnorm-3: loss", "batchnorm-3: accuracy", "epoch", "train", "validation"):
        assert text in said


def test_each_study_run_is_four_lines() -> None:
    one, two = lines(curves(made_record())), lines(curves(made_record(), made_record(seed=1)))
    assert (one, two) == (4, 8)


def test_final_runs_and_other_experiments_are_left_out() -> None:
    others = [made_record(stage="final"), made_record("none-2")]
    assert curves(made_record(), *others) == curves(made_record())


def test_a_run_without_epochs_is_drawn_without_complaint() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(curves(made_record(curves=())))
        assert texts(curves())
