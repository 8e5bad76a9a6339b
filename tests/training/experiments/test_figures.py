"""Tests of the figures that are drawn from records."""

import io
import warnings
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.support.factories import made_record
from tests.support.images import striped_image
from training.experiments.record import LayerRetrieval, Ranking, Record
from training.experiments.reports.figures import (
    compared_curves,
    confusion_matrix,
    learning_curves,
    neighbours,
    retrieval_by_layer,
)

SVG = "{http://www.w3.org/2000/svg}"


def texts(figure: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(figure).iter(f"{SVG}text")]  # noqa: S314 - our own


def lines(figure: bytes) -> int:
    """Count the lines in the panels, without those of the legends."""
    groups = ET.fromstring(figure).iter(f"{SVG}g")  # noqa: S314 - our own
    own = [group for group in groups if (group.get("id") or "").startswith("axes_")]
    return sum((g.get("id") or "").startswith("line2d") for axes in own for g in axes)


def curves(*records: Record) -> bytes:
    return learning_curves("batchnorm-3", records)


def test_learning_curves_are_svg() -> None:
    assert ET.fromstring(curves(made_record())).tag == f"{SVG}svg"  # noqa: S314 - our own


def test_equal_records_give_equal_bytes() -> None:
    assert curves(made_record()) == curves(made_record())


def test_other_records_give_another_figure() -> None:
    assert curves(made_record()) != curves(made_record(validation=0.3))


def test_learning_curves_have_titles_and_labels() -> None:
    drawn = texts(curves(made_record()))
    for text in ("batchnorm-3: loss", "batchnorm-3: accuracy", "epoch", "train", "validation"):
        assert text in drawn


def test_each_study_run_has_four_lines() -> None:
    one, two = lines(curves(made_record())), lines(curves(made_record(), made_record(seed=1)))
    assert (one, two) == (4, 8)


def test_final_runs_and_other_experiments_are_left_out() -> None:
    others = [made_record(stage="final"), made_record("none-2")]
    assert curves(made_record(), *others) == curves(made_record())


def test_a_run_without_epochs_is_drawn_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert texts(curves(made_record(curves=())))
        assert texts(curves())


def test_compared_curves_have_a_panel_for_each_name_and_quantity() -> None:
    records = [made_record("none-2"), made_record("none-3"), made_record("batchnorm-3", seed=1)]
    drawn = texts(compared_curves([["none-2"], ["none-3", "batchnorm-3"]], records))
    for name in ("none-2", "none-3", "batchnorm-3"):
        assert f"{name}: accuracy" in drawn
        assert f"{name}: loss" in drawn
    assert {"train", "validation"} <= {*drawn}


def test_a_confusion_matrix_has_class_names_and_counts() -> None:
    drawn = texts(confusion_matrix(((41, 7), (13, 29)), ("cat", "dog")))
    assert {"cat", "dog", "41", "7", "13", "29", "true class", "predicted class"} <= {*drawn}


def test_a_confusion_matrix_of_many_classes_has_no_counts() -> None:
    names = [f"kind {n}" for n in range(30)]
    drawn = texts(confusion_matrix([[77 * (a == b) for b in range(30)] for a in range(30)], names))
    assert "77" not in drawn
    assert {*names} <= {*drawn}


@pytest.mark.filterwarnings("error")
def test_class_names_are_drawn_without_interpretation() -> None:
    """A dollar sign does not start a formula, and any script can be drawn."""
    names = ("$x_{", "日本 の 猫")
    assert {*names} <= {*texts(confusion_matrix(((1, 2), (3, 4)), names))}
    black = np.zeros((32, 32, 3), dtype=np.uint8)
    assert neighbours([("conv2", [(black, name) for name in names])]).startswith(b"\x89PNG")


def test_retrieval_is_drawn_from_the_first_layer_to_the_last() -> None:
    good, bad = (Ranking(precision_at_10=p, mean_average_precision=p) for p in (0.9, 0.2))
    layers = {
        name: LayerRetrieval(dimension=8, queries=9, gallery=9, overall=one, by_class=(one, None))
        for name, one in (("conv1", bad), ("logits", good))
    }
    drawn = texts(retrieval_by_layer(layers, ("cat", "dog")))
    assert [text for text in drawn if text in {"conv1", "logits"}] == ["conv1", "logits"]
    assert {"cat", "precision at 10", "all classes"} <= {*drawn}


def test_neighbours_have_the_colours_of_their_pixels() -> None:
    colours = ((200, 30, 90), (10, 250, 40), (0, 0, 255))
    tiles = [np.full((32, 32, 3), colour, np.uint8) for colour in colours]
    rows = [(layer, [(tile, "query: x") for tile in tiles]) for layer in ("conv2", "logits")]
    with Image.open(io.BytesIO(neighbours(rows))) as image:
        assert image.format == "PNG"
        found = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or ()}
    assert {*colours} <= found


def test_rows_of_neighbours_can_differ_in_length() -> None:
    long = [(striped_image(0, n), "x") for n in range(6)]
    assert neighbours([("conv2", long), ("logits", long[:2])])
