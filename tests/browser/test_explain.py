"""Explanations of a score: the heatmap over both images, and the bars of the classes."""

import re

import numpy as np
import pytest
from matplotlib import colormaps

from tests.browser.conftest import OpenPage
from tests.support.page_objects import drop, expect, parse_number, row, scores


def test_the_heatmap_covers_both_images_and_adds_up_to_the_score(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    [score, *_] = scores(page, "conv2")
    row(page, "conv2").locator("button.card-action").first.click()
    cells = page.get_by_role("grid").get_by_role("gridcell")
    expect(cells).to_have_count(64)
    expect(page.locator(".overlay .cell")).to_have_count(128)
    expect(page.locator(".overlay .luminance")).to_have_count(2)
    labels = [cell.get_attribute("aria-label") or "" for cell in cells.all()]
    terms = [parse_number(text.split(": ")[1].split(",")[0]) for text in labels]
    assert sum(terms) == pytest.approx(score, abs=64 * 5e-5 + 5e-4)
    stated = re.search(
        r"64 cells add up to (\d\.\d+); the score is (\d\.\d+)", page.inner_text(".explanation")
    )
    assert stated is not None
    assert float(stated[1]) == pytest.approx(float(stated[2]), abs=1e-3)


def test_pointing_at_a_cell_shows_its_share_on_both_images(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    page.locator(".overlay").last.locator(".cell").nth(8 * 2 + 5).hover()
    expect(page.locator(".readout")).to_have_text(
        re.compile(r"^\S?\d+\.\d % of the score.*: \S?0\.\d{4}, at row 3, column 6$")
    )
    expect(page.locator(".cell.highlighted")).to_have_count(2)


def test_the_patches_of_both_images_at_a_cell_are_enlarged(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    page.locator(".overlay").first.locator(".cell").nth(8 * 2 + 5).hover()
    expect(page.locator(".patch")).to_have_count(2)
    for patch in page.locator(".patch").all():
        frame, whole = patch.bounding_box(), patch.locator(".pixels").bounding_box()
        assert frame is not None
        assert whole is not None
        shift = [(frame[side] - whole[side]) / frame["width"] for side in ("x", "y")]
        assert shift == pytest.approx([5, 2], abs=0.01)
        assert whole["width"] == pytest.approx(8 * frame["width"])


def test_the_ends_of_the_slider_show_the_image_alone_or_the_map_alone(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    slider = page.get_by_role("slider")
    for end, cells in (("Home", "0"), ("End", "1")):
        slider.press(end)
        assert page.evaluate(
            """() => [
              [".cell:not(.highlighted)", "::before"],
              [".luminance"],
            ].map(([selector, part]) =>
              getComputedStyle(document.querySelector(selector), part).opacity)"""
        ) == [cells, "0"]


def test_the_colour_scale_is_cividis(open_page: OpenPage) -> None:
    steps = np.linspace(0, 1, 101)
    drawn = open_page().evaluate(
        """async (steps) => {
          const { cividis } = await import("/web/lib/colormap.js");
          return steps.map((step) => cividis(step).match(/\\d+/g).map(Number));
        }""",
        steps.tolist(),
    )
    expected = 255 * colormaps["cividis"](steps)[:, :3]
    assert np.abs(np.array(drawn) - expected).max() < 8


def test_the_terms_of_the_classes_add_up_to_the_score_at_the_output(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "logits").locator("button.card-action").nth(1).click()
    bars = page.get_by_role("list", name="Share of each class in the score").get_by_role("listitem")
    expect(bars).to_have_count(3)
    page.get_by_role("button", name="Show all").click()
    expect(bars).to_have_count(10)
    expect(bars.nth(3)).to_be_focused()
    terms = [parse_number(text) for text in bars.locator(".bar-figure").all_inner_texts()]
    assert sum(terms) == pytest.approx(scores(page, "logits")[1], abs=6e-3)
    expect(page.locator(".explanation")).to_contain_text("The 10 classes add up to")


def test_one_explanation_is_open_at_a_time(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    row(page, "conv2").locator("button.card-action").first.click()
    row(page, "logits").locator("button.card-action").first.click()
    expect(page.locator(".explanation")).to_have_count(1)
    expect(page.locator("button.card-action[aria-expanded=true]")).to_have_count(1)
