"""The experiments view: sortable tables, learning curves, and errors that link to images."""

import re

import pytest

from tests.browser.conftest import OpenPage, PageLog
from tests.support.page_objects import Page, Route, expect, save_screenshot

EXPERIMENTS = "/#/experiments"


def shown(page: Page) -> set[str]:
    """Return the experiments whose curves are visible in either chart."""
    curves = page.locator(".chart [data-experiment]:visible").all()
    return {curve.get_attribute("data-experiment") or "" for curve in curves}


def test_experiments_are_listed_beside_the_published_figures(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    line = page.get_by_role("row", name=re.compile("^none-2"))
    expect(line).to_contain_text("74.08")
    expect(line).to_contain_text("Lab2_P1_Regularizer_None_2LayerCNN")


def test_the_page_names_the_source_of_the_published_figures(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    expect(page.locator(".lead").first).to_contain_text("“Published” is the course report")
    expect(page.locator(".definitions").first).to_contain_text("reach the published test accuracy")


def test_several_runs_are_shown_as_mean_and_deviation_and_one_run_as_its_value(
    open_page: OpenPage,
) -> None:
    page = open_page(EXPERIMENTS)
    two_runs = page.get_by_role("row", name=re.compile("^none-2")).get_by_role("cell")
    expect(two_runs).to_have_count(9)
    deviations = [text for text in two_runs.all_inner_texts() if "±" in text]
    assert deviations == ["100.0 ± 14.1", "65.00 ± 7.07", "63.00 ± 2.83"]
    expect(two_runs.nth(1)).to_have_text("2")
    one_run = page.get_by_role("row", name=re.compile("^batchnorm-3"))
    expect(one_run).not_to_contain_text("±")


def test_differences_between_experiments_are_said_in_words(open_page: OpenPage) -> None:
    words = "none-3 is 1.20 points above none-2 over 3 seeds: larger than the seeds' own."

    def add_comparison(page: Page) -> None:
        def answer(route: Route) -> None:
            response = route.fetch()
            body = response.json()
            assert body["comparisons"] == []  # no pair of this bundle differs in one thing
            body["comparisons"] = [{"first": "none-3", "second": "none-2", "p": 0, "words": words}]
            route.fulfill(response=response, json=body)

        page.route("**/experiments", answer)

    heading = re.compile("^Larger than the seeds")
    page = open_page(EXPERIMENTS, before=add_comparison)
    expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.locator(".comparisons").get_by_role("listitem")).to_have_text([words])
    without = open_page(EXPERIMENTS)
    expect(without.locator(".chart")).to_have_count(2)
    expect(without.get_by_role("heading", name=heading)).to_have_count(0)


@pytest.mark.parametrize("column", ["Experiment", "Validation, %, ours", "Test, %, published"])
def test_every_column_sorts_both_ways(open_page: OpenPage, column: str) -> None:
    page = open_page(EXPERIMENTS)
    results = page.get_by_role("region", name="Experiments: time and accuracy")
    sorter = results.get_by_role("button", name=column)
    heading = sorter.locator("..")
    for order in ("ascending", "descending"):
        sorter.click()
        expect(heading).to_have_attribute("aria-sort", order)
        names = results.get_by_role("rowheader").all_inner_texts()
        assert (names == sorted(names)) == (order == "ascending") or column != "Experiment"


def test_the_charts_show_the_curves_of_the_selected_experiments(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    expect(page.locator(".chart")).to_have_count(2)
    assert shown(page) == {"batchnorm-3", "none-2"}
    page.get_by_role("checkbox", name="none-2").uncheck()
    assert shown(page) == {"batchnorm-3"}
    page.get_by_role("checkbox", name="batchnorm-3").uncheck()
    assert shown(page) == set()
    page.get_by_role("checkbox", name="none-2").check()
    assert shown(page) == {"none-2"}


def test_both_charts_have_train_and_validation_curves_of_each_experiment(
    open_page: OpenPage,
) -> None:
    page = open_page(EXPERIMENTS)
    for title in ("Loss", "Accuracy"):
        drawing = page.get_by_role("group", name=f"{title} by epoch")
        for part in ("train", "validation"):
            curve = drawing.locator(f"[data-experiment=batchnorm-3][data-part={part}]:has(use)")
            expect(curve).to_have_count(1)
            expect(curve.locator("use")).to_have_count(3)


def test_the_address_contains_the_selected_experiments(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    page.get_by_role("checkbox", name="batchnorm-3").uncheck()
    other = open_page("/#" + page.url.split("#")[1])
    expect(other.locator(".chart")).to_have_count(2)
    assert shown(other) == {"none-2"}


def test_pointing_near_a_curve_shows_its_values(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    drawing = page.get_by_role("group", name="Accuracy by epoch")
    drawing.scroll_into_view_if_needed()
    box = drawing.locator("[data-experiment=none-2][data-part=validation] use").last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2 + 4, box["y"] + box["height"] / 2 + 4)
    expect(page.locator(".chart .readout").last).to_have_text(
        "none-2, epoch 2: validation accuracy 65.0 % ± 7.1, mean of 2 runs"
    )


def test_the_curves_can_be_read_by_keyboard(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    page.get_by_role("checkbox", name="none-2").focus()
    page.keyboard.press("Tab")
    readout = page.locator(".chart .readout").first
    expect(readout).to_contain_text("batchnorm-3, epoch 1: train loss")
    page.keyboard.press("ArrowRight")
    expect(readout).to_contain_text("batchnorm-3, epoch 2: train loss")
    page.keyboard.press("ArrowDown")
    expect(readout).to_contain_text("batchnorm-3, epoch 2: validation loss")
    for _ in range(3):  # over both buttons that save the chart
        page.keyboard.press("Tab")
    expect(page.locator(".chart .readout").last).to_contain_text("epoch 1: train accuracy")


def test_a_cell_of_the_confusion_matrix_links_to_the_images_that_it_counts(
    open_page: OpenPage,
) -> None:
    page = open_page(EXPERIMENTS)
    cells = page.get_by_role("grid").get_by_role("gridcell")
    expect(cells).to_have_count(100)
    assert sum(int(text) for text in cells.all_inner_texts()) == 150
    cell = cells.get_by_role("link", name=re.compile("^1?[1-9] (\\w+), taken for"))
    name = cell.first.get_attribute("aria-label") or ""
    parts = re.fullmatch(r"(\d+) (\w+), taken for (\w+)", name)
    assert parts is not None
    count, label, predicted = parts.groups()
    cell.first.click()
    expect(page.locator(".gallery .card")).to_have_count(int(count))
    expect(page.locator(".filter-note")).to_contain_text(f"takes for {predicted}")
    expect(page.locator(".class-filter [aria-current]")).to_have_text(label)


def test_the_confusion_matrix_is_one_tab_stop_and_arrow_keys_move_in_it(
    open_page: OpenPage,
) -> None:
    page = open_page(EXPERIMENTS)
    matrix = page.get_by_role("grid")
    expect(matrix.locator("[tabindex='0']")).to_have_count(1)
    matrix.locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(matrix.get_by_role("link").nth(11)).to_be_focused()
    expect(matrix.locator("[tabindex='0']")).to_have_count(1)


def test_the_page_states_that_the_gallery_is_smaller_than_the_test_split(
    open_page_without_pixels: OpenPage,
) -> None:
    page = open_page_without_pixels(EXPERIMENTS)
    expect(page.locator(".experiments")).to_contain_text("The gallery has 100 of them")
    page.get_by_role("grid").get_by_role("link").first.click()
    expect(page.locator(".filter-note")).to_contain_text(
        "The gallery has 100 of the 150 test images"
    )


def test_the_quality_of_the_neighbours_is_listed_by_layer(open_page: OpenPage) -> None:
    page = open_page(EXPERIMENTS)
    quality = page.get_by_role("region", name="Quality of the neighbours by layer")
    layers = quality.get_by_role("rowheader")
    expect(layers).to_have_text(["conv1", "conv2", "conv3", "penultimate", "logits"])
    for cell in quality.locator("tbody tr").last.get_by_role("cell").all()[1:]:
        assert 0 < float(cell.inner_text()) <= 1


def test_a_bundle_without_charts_is_reported_and_its_table_is_shown(
    open_page: OpenPage, page_log: PageLog
) -> None:
    def before(page: Page) -> None:
        page.route("**/curves/*.svg", lambda route: route.fulfill(status=404, json={}))

    page = open_page(EXPERIMENTS, before)
    expect(page.locator(".experiments")).to_contain_text("This bundle was built before")
    expect(page.get_by_role("row", name=re.compile("^batchnorm-3"))).to_be_visible()
    assert all("404" in text for text in page_log.messages)
    page_log.messages.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_focused_point_is_highlighted(open_page: OpenPage, scheme: str) -> None:
    page = open_page(EXPERIMENTS, color_scheme=scheme)
    page.locator(".chart use[tabindex='0']").first.focus()
    expect(page.locator(".highlighted")).to_have_count(1)
    save_screenshot(page, f"curves-{scheme}")
