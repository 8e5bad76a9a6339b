"""Pictures and tables to take away, and addresses of every view to share."""

import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import OpenPage
from tests.support.page_objects import Page, drop, expect, row


def saved(page: Page, name: str) -> tuple[str, bytes]:
    """Press a button that saves; return the name of the file and its content."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_the_neighbours_are_saved_as_a_picture(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    expect(page.locator(".row img").first).not_to_have_js_property("naturalWidth", 0)
    name, content = saved(page, "Save the neighbours as PNG")
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    assert re.fullmatch(r"kindred-.+\.png", name)
    assert picture.width > 1500
    assert len(picture.getcolors(1 << 24) or []) > 50


def test_a_chart_is_saved_as_it_is_shown(open_page: OpenPage) -> None:
    page = open_page("/#/experiments", color_scheme="dark")
    page.get_by_role("checkbox", name="none-2").uncheck()
    name, content = saved(page, "Save the chart of Loss as SVG")
    assert name == "kindred-loss.svg"
    assert b'data-experiment="batchnorm-3"' in content
    assert b'data-experiment="none-2"' not in content
    name, content = saved(page, "Save the chart of Loss as PNG")
    picture = Image.open(io.BytesIO(content)).convert("L")
    assert name == "kindred-loss.png"
    shades = np.asarray(picture)
    assert shades.min() < 60, "dark, as on the page"
    assert shades.max() > 180


def test_the_curves_are_saved_as_a_table(open_page: OpenPage) -> None:
    page = open_page("/#/experiments")
    name, content = saved(page, "Save the learning curves as CSV")
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "kindred-curves.csv"
    assert {one["experiment"] for one in rows} == {"batchnorm-3", "none-2"}
    assert all(0 <= float(one["train_accuracy"]) <= 1 for one in rows)


def test_a_table_is_saved_with_its_values(open_page: OpenPage) -> None:
    page = open_page("/#/experiments")
    name, content = saved(page, "Save the table “Quality of the neighbours by layer” as CSV")
    titles, *rows = csv.reader(io.StringIO(content.decode()))
    assert name == "kindred-quality-of-the-neighbours-by-layer.csv"
    assert titles == ["Layer", "Dimensions", "Precision at 10", "Mean average precision"]
    assert [one[:2] for one in rows][1] == ["conv2", "8192"]


@pytest.mark.parametrize("show", ["duplicates&threshold=0.5", "doubtful"])
def test_parts_of_the_gallery_have_addresses(open_page: OpenPage, show: str) -> None:
    page = open_page(f"/#/gallery?show={show}")
    tab = page.get_by_role("navigation", name="Parts of the gallery").locator("[aria-current]")
    title = "Labels in doubt" if show == "doubtful" else "Near-duplicates"
    expect(tab).to_have_text(title)
    assert page.title() == f"{title} · kindred"


def test_the_address_has_the_layers_that_are_compared(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples a.card-action").first.click()
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_role("checkbox", name="conv2").uncheck()
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_role("checkbox", name="logits")).to_be_disabled()
    other = open_page("/#" + page.url.split("#")[1])
    expect(other.locator(".row")).to_have_count(1)
    expect(row(other, "logits")).to_be_visible()
    for layer in ("conv2", "penultimate"):
        other.get_by_role("checkbox", name=layer).check()
    expect(other.locator(".row")).to_have_count(3)
    row(other, "penultimate").locator("button.card-action").first.click()
    expect(other.locator(".explanation")).to_contain_text("cannot be split any further")
