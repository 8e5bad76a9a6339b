"""Curves laid over each other, for a page to take apart."""

import xml.etree.ElementTree as ET

import pytest

from tests.support.factories import epoch, made_record
from training.experiments.catalogue import EIGHT
from training.experiments.record import Record
from training.experiments.reports.curves_svg import LOOKS, SVG, overlaid_curves
from training.experiments.reports.figures import QUANTITIES, Quantity


def drawn(*records: Record, quantity: Quantity = "accuracy") -> ET.Element:
    return ET.fromstring(overlaid_curves(records, quantity))  # noqa: S314 - our own


def groups(drawing: ET.Element) -> list[tuple[str, str, int]]:
    """Experiment, part and number of points of each group that is named."""
    named = [group for group in drawing.iter(f"{{{SVG}}}g") if group.get("data-experiment")]
    return [
        (
            group.attrib["data-experiment"],
            group.attrib["data-part"],
            len(list(group.iter(f"{{{SVG}}}use"))),
        )
        for group in named
    ]


def said(drawing: ET.Element) -> list[str]:
    return [title.text or "" for title in drawing.iter(f"{{{SVG}}}title")]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_experiment_is_a_group_for_training_and_one_for_validation(
    quantity: Quantity,
) -> None:
    drawing = drawn(made_record("none-2"), made_record("batchnorm-3"), quantity=quantity)
    assert groups(drawing) == [
        ("batchnorm-3", "train", 2),
        ("batchnorm-3", "validation", 2),
        ("none-2", "train", 2),
        ("none-2", "validation", 2),
    ]


def test_every_point_says_its_values() -> None:
    assert said(drawn(made_record(validation=0.625))) == [
        "batchnorm-3, epoch 1: train accuracy 50.0 %",
        "batchnorm-3, epoch 2: train accuracy 50.0 %",
        "batchnorm-3, epoch 1: validation accuracy 50.0 %",
        "batchnorm-3, epoch 2: validation accuracy 62.5 %",
    ]
    assert (
        said(drawn(made_record(), quantity="loss"))[0] == "batchnorm-3, epoch 1: train loss 1.000"
    )


def test_several_runs_are_their_mean_with_a_band_around_it() -> None:
    drawing = drawn(made_record(validation=0.6), made_record(validation=0.7, seed=1))
    assert said(drawing)[-1] == (
        "batchnorm-3, epoch 2: validation accuracy 65.0 % ± 7.1, mean of 2 runs"
    )
    assert ("batchnorm-3", "validation", 0) in groups(drawing)


def test_a_run_that_ended_early_counts_as_far_as_it_went() -> None:
    short = made_record(seed=1, status="collapsed", curves=(epoch(1),))
    words = said(drawn(made_record(), short))
    assert "mean of 2 runs" in words[0]
    assert "runs" not in words[1]


def test_final_runs_failed_runs_and_older_settings_are_left_out() -> None:
    older = made_record(group_id="older", seed=2)
    others = [made_record(stage="final"), made_record(status="failed", seed=1), older]
    latest = made_record(hour=1)
    assert overlaid_curves([*others, latest], "loss") == overlaid_curves([latest], "loss")


def test_a_quantity_that_was_not_measured_has_no_curve() -> None:
    blind = made_record(curves=(epoch(1, validation=None), epoch(2, validation=None)))
    assert groups(drawn(blind)) == [("batchnorm-3", "train", 2)]


def test_without_records_it_is_an_empty_drawing() -> None:
    assert drawn().tag == f"{{{SVG}}}svg"


def test_a_strict_page_may_set_it_into_itself() -> None:
    drawing = drawn(made_record())
    assert not [one for one in drawing.iter() if "style" in one.attrib or "style" in one.tag]


def test_two_drawings_in_one_page_share_no_ids() -> None:
    loss, accuracy = (
        {one.get("id") for one in drawn(made_record(), quantity=quantity).iter()} - {None}
        for quantity in QUANTITIES
    )
    assert loss
    assert loss.isdisjoint(accuracy)


def test_equal_records_give_equal_bytes() -> None:
    assert overlaid_curves([made_record()], "loss") == overlaid_curves([made_record()], "loss")


def test_every_experiment_has_a_look_of_its_own() -> None:
    assert len(LOOKS) > len(EIGHT)
    for taken in zip(*LOOKS, strict=True):
        assert len(set(taken)) == len(LOOKS)


def luminance(colour: str) -> float:
    """WCAG's relative luminance."""
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#131d31"])
def test_every_curve_stands_out_from_light_and_from_dark_paper(paper: str) -> None:
    for colour, _ in LOOKS:
        lighter, darker = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3
