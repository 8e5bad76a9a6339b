"""Tests of the learning curves of all experiments in one SVG."""

import xml.etree.ElementTree as ET

import pytest

from tests.support.factories import epoch, made_record
from training.experiments.catalogue import EIGHT
from training.experiments.record import Record
from training.experiments.reports.curves_svg import CURVE_STYLES, SVG, overlaid_curves
from training.experiments.reports.figures import QUANTITIES, Quantity


def drawn(*records: Record, quantity: Quantity = "accuracy") -> ET.Element:
    return ET.fromstring(overlaid_curves(records, quantity))  # noqa: S314 - our own


def groups(drawing: ET.Element) -> list[tuple[str, str, int]]:
    """Return experiment, part and number of points of each group with an experiment."""
    named = [group for group in drawing.iter(f"{{{SVG}}}g") if group.get("data-experiment")]
    return [
        (
            group.attrib["data-experiment"],
            group.attrib["data-part"],
            len(list(group.iter(f"{{{SVG}}}use"))),
        )
        for group in named
    ]


def titles(drawing: ET.Element) -> list[str]:
    return [title.text or "" for title in drawing.iter(f"{{{SVG}}}title")]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_experiment_has_a_group_for_training_and_one_for_validation(
    quantity: Quantity,
) -> None:
    drawing = drawn(made_record("none-2"), made_record("batchnorm-3"), quantity=quantity)
    assert groups(drawing) == [
        ("batchnorm-3", "train", 2),
        ("batchnorm-3", "validation", 2),
        ("none-2", "train", 2),
        ("none-2", "validation", 2),
    ]


def test_the_title_of_each_point_has_its_values() -> None:
    assert titles(drawn(made_record(validation=0.625))) == [
        "batchnorm-3, epoch 1: train accuracy 50.0 %",
        "batchnorm-3, epoch 2: train accuracy 50.0 %",
        "batchnorm-3, epoch 1: validation accuracy 50.0 %",
        "batchnorm-3, epoch 2: validation accuracy 62.5 %",
    ]
    assert (
        titles(drawn(made_record(), quantity="loss"))[0] == "batchnorm-3, epoch 1: train loss 1.000"
    )


def test_several_runs_are_drawn_as_a_mean_with_a_band() -> None:
    drawing = drawn(made_record(validation=0.6), made_record(validation=0.7, seed=1))
    assert titles(drawing)[-1] == (
        "batchnorm-3, epoch 2: validation accuracy 65.0 % ± 7.1, mean of 2 runs"
    )
    assert ("batchnorm-3", "validation", 0) in groups(drawing)


def test_a_run_that_ended_early_counts_in_its_epochs() -> None:
    short = made_record(seed=1, status="collapsed", curves=(epoch(1),))
    first, second, *_ = titles(drawn(made_record(), short))
    assert "mean of 2 runs" in first
    assert "runs" not in second


def test_final_runs_failed_runs_and_older_settings_are_left_out() -> None:
    older = made_record(group_id="older", seed=2)
    others = [made_record(stage="final"), made_record(status="failed", seed=1), older]
    latest = made_record(hour=1)
    assert overlaid_curves([*others, latest], "loss") == overlaid_curves([latest], "loss")


def test_a_quantity_that_was_not_measured_has_no_curve() -> None:
    unmeasured = made_record(curves=(epoch(1, validation=None), epoch(2, validation=None)))
    assert groups(drawn(unmeasured)) == [("batchnorm-3", "train", 2)]


def test_without_records_the_svg_has_no_curves() -> None:
    assert drawn().tag == f"{{{SVG}}}svg"


def test_the_svg_has_no_styles() -> None:
    drawing = drawn(made_record())
    assert not [one for one in drawing.iter() if "style" in one.attrib or "style" in one.tag]


def test_two_figures_have_no_ids_in_common() -> None:
    loss, accuracy = (
        {one.get("id") for one in drawn(made_record(), quantity=quantity).iter()} - {None}
        for quantity in QUANTITIES
    )
    assert loss
    assert loss.isdisjoint(accuracy)


def test_equal_records_give_equal_bytes() -> None:
    assert overlaid_curves([made_record()], "loss") == overlaid_curves([made_record()], "loss")


def test_every_experiment_has_its_own_colour_and_marker() -> None:
    assert len(CURVE_STYLES) > len(EIGHT)
    for values in zip(*CURVE_STYLES, strict=True):
        assert len(set(values)) == len(CURVE_STYLES)


def luminance(colour: str) -> float:
    """Compute WCAG's relative luminance."""
    shares = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("background", ["#ffffff", "#131d31"])
def test_every_curve_has_contrast_on_light_and_dark_backgrounds(background: str) -> None:
    for colour, _ in CURVE_STYLES:
        lighter, darker = sorted((luminance(colour), luminance(background)), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3
