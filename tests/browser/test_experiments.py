"""The experiments: tables that sort, curves laid over each other, errors that lead to pictures."""

import re

import pytest

from tests.browser.conftest import Open, PageLog
from tests.support.page_objects import Page, expect, save_screenshot

EXPERIMENTS = "/#/experiments"


def shown(page: Page) -> set[str]:
    """The experiments whose curves are to be seen, in both of the drawings."""
    curves = page.locator(".chart [data-experiment]:visible").all()
    return {curve.get_attribute("data-experiment") or "" for curve in curves}


def test_experiments_stand_beside_what_was_published(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    line = page.get_by_role("row", name=re.compile("^none-2"))
    expect(line).to_contain_text("74.08")
    expect(line).to_contain_text("Lab2_P1_Regularizer_None_2LayerCNN")


def test_the_page_says_whose_the_published_figures_are(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    expect(page.locator(".lead").first).to_contain_text("“Published” is the course report")
    expect(page.locator(".definitions").first).to_contain_text("reach the published test accuracy")


def test_several_runs_are_a_mean_with_its_spread_and_one_run_is_itself(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    twice = page.get_by_role("row", name=re.compile("^none-2")).get_by_role("cell")
    expect(twice).to_have_count(9)
    spreads = [text for text in twice.all_inner_texts() if "±" in text]
    assert spreads == ["100.0 ± 14.1", "65.00 ± 7.07", "63.00 ± 2.83"]
    expect(twice.nth(1)).to_have_text("2")
    once = page.get_by_role("row", name=re.compile("^batchnorm-3"))
    expect(once).not_to_contain_text("±")


@pytest.mark.parametrize("column", ["Experiment", "Validation, %, ours", "Test, %, published"])
def test_every_column_sorts_both_ways(visit: Open, column: str) -> None:
    page = visit(EXPERIMENTS)
    results = page.get_by_role("region", name="Experiments: time and accuracy")
    sorter = results.get_by_role("button", name=column)
    heading = sorter.locator("..")
    for order in ("ascending", "descending"):
        sorter.click()
        expect(heading).to_have_attribute("aria-sort", order)
        names = results.get_by_role("rowheader").all_inner_texts()
        assert (names == sorted(names)) == (order == "ascending") or column != "Experiment"


def test_curves_of_any_experiments_are_laid_over_each_other(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    expect(page.locator(".chart")).to_have_count(2)
    assert shown(page) == {"batchnorm-3", "none-2"}
    page.get_by_role("checkbox", name="none-2").uncheck()
    assert shown(page) == {"batchnorm-3"}
    page.get_by_role("checkbox", name="batchnorm-3").uncheck()
    assert shown(page) == set()
    page.get_by_role("checkbox", name="none-2").check()
    assert shown(page) == {"none-2"}


def test_both_drawings_have_train_and_validation_of_each_experiment(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    for title in ("Loss", "Accuracy"):
        drawing = page.get_by_role("group", name=f"{title} by epoch")
        for part in ("train", "validation"):
            curve = drawing.locator(f"[data-experiment=batchnorm-3][data-part={part}]:has(use)")
            expect(curve).to_have_count(1)
            expect(curve.locator("use")).to_have_count(3)


def test_the_choice_of_curves_is_shared_with_the_address(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    page.get_by_role("checkbox", name="batchnorm-3").uncheck()
    other = visit("/#" + page.url.split("#")[1])
    expect(other.locator(".chart")).to_have_count(2)
    assert shown(other) == {"none-2"}


def test_pointing_near_a_curve_tells_its_values(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    drawing = page.get_by_role("group", name="Accuracy by epoch")
    drawing.scroll_into_view_if_needed()
    box = drawing.locator("[data-experiment=none-2][data-part=validation] use").last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2 + 4)
    expect(page.locator(".chart .readout").last).to_have_text(
        "none-2, epoch 2: validation accuracy 65.0 % ± 7.1, mean of 2 runs"
    )


def test_the_curves_can_be_read_by_keyboard_alone(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    page.get_by_role("checkbox", name="none-2").focus()
    page.keyboard.press("Tab")
    readout = page.locator(".chart .readout").first
    expect(readout).to_contain_text("batchnorm-3, epoch 1: train loss")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("batchnorm-3, epoch 2: train loss")
    page.keyboard.press("ArrowDown")
    expect(readout).to_contain_text("batchnorm-3, epoch 2: validation loss")
    page.keyboard.press("Tab")
    expect(page.locator(".chart .readout").last).to_contain_text("epoch 1: train accuracy")


def test_a_cell_of_the_confusion_matrix_leads_to_just_such_pictures(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    cells = page.get_by_role("grid").get_by_role("gridcell")
    expect(cells).to_have_count(100)
    assert sum(int(text) for text in cells.all_inner_texts()) == 150
    cell = cells.get_by_role("link", name=re.compile("^1?[1-9] (\\w+), taken for"))
    spoken = cell.first.get_attribute("aria-label") or ""
    named = re.fullmatch(r"(\d+) (\w+), taken for (\w+)", spoken)
    assert named is not None
    cell.first.click()
    expect(page.locator(".gallery .card")).to_have_count(int(named[1]))
    expect(page.locator(".filter-note")).to_contain_text(f"takes for {named[3]}")
    expect(page.locator(".class-filter [aria-current]")).to_have_text(named[2])


def test_the_confusion_matrix_is_one_tab_stop_that_arrows_walk(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    matrix = page.get_by_role("grid")
    expect(matrix.locator("[tabindex='0']")).to_have_count(1)
    matrix.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(matrix.get_by_role("link").nth(11)).to_be_focused()
    expect(matrix.locator("[tabindex='0']")).to_have_count(1)


def test_the_page_says_where_the_gallery_is_less_than_what_was_counted(
    visit_without_pixels: Open,
) -> None:
    page = visit_without_pixels(EXPERIMENTS)
    expect(page.locator(".experiments")).to_contain_text("The gallery has 100 of them")
    page.get_by_role("grid").get_by_role("link").first.click()
    expect(page.locator(".filter-note")).to_contain_text(
        "The gallery has 100 of the 150 test pictures"
    )


def test_how_good_the_neighbours_are_is_told_by_layer(visit: Open) -> None:
    page = visit(EXPERIMENTS)
    quality = page.get_by_role("region", name="Quality of the neighbours by layer")
    layers = quality.get_by_role("rowheader")
    expect(layers).to_have_text(["conv1", "conv2", "conv3", "penultimate", "logits"])
    for cell in quality.locator("tbody tr").last.get_by_role("cell").all()[1:]:
        assert 0 < float(cell.inner_text()) <= 1


def test_a_bundle_from_before_the_drawings_says_that_it_has_none(
    visit: Open, page_log: PageLog
) -> None:
    def before(page: Page) -> None:
        page.route("**/curves/*.svg", lambda route: route.fulfill(status=404, json={}))

    page = visit(EXPERIMENTS, before)
    expect(page.locator(".experiments")).to_contain_text("This bundle was built before")
    expect(page.get_by_role("row", name=re.compile("^batchnorm-3"))).to_be_visible()
    assert all("404" in said for said in page_log.said)
    page_log.said.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_point_at_hand_is_there_to_look_at(visit: Open, scheme: str) -> None:
    page = visit(EXPERIMENTS, color_scheme=scheme)
    page.locator(".chart use[tabindex='0']").first.focus()
    expect(page.locator(".highlighted")).to_have_count(1)
    save_screenshot(page, f"curves-{scheme}")
