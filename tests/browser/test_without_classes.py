"""The page of a bundle without classes: search, gallery and map, without labels and bars."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.page_objects import (
    accessibility_violations,
    expect,
    save_screenshot,
    send_file,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def unlabelled_url(
    unlabelled: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with server(unlabelled[1], tmp_path_factory.mktemp("gallery")) as url:
        yield url


@pytest.fixture
def open_unlabelled(
    browser: "Browser", unlabelled_url: str, page_log: PageLog
) -> Iterator[OpenPage]:
    yield from page_opener(browser, unlabelled_url, page_log)


def test_a_dropped_photo_finds_itself_and_nothing_is_named(
    open_unlabelled: OpenPage, unlabelled: tuple[Path, Path]
) -> None:
    page = open_unlabelled()
    expect(page.locator(".examples .card")).to_have_count(20)
    expect(page.get_by_role("heading", level=1)).to_have_text("Give it an image; find its like.")
    photo = (unlabelled[0] / "02.jpg").read_bytes()
    send_file(page, photo, name="02.jpg", kind="image/jpeg")
    expect(page.locator(".row")).to_have_count(1)
    first = page.locator(".row .card").first
    expect(first.locator(".card-label")).to_have_text("02.jpg")
    expect(first.locator(".card-score")).to_have_text("1.000")
    expect(page.locator(".prediction")).to_contain_text("This gallery has no classes")
    expect(page.locator(".prediction .bars, .mismatch")).to_have_count(0)
    expect(page.locator(".row-head")).not_to_contain_text("labelled")
    first.locator("button.card-action").click()
    expect(page.get_by_role("heading", name="Why 02.jpg scores 1.000")).to_be_visible()
    save_screenshot(page, "without-classes")
    assert accessibility_violations(page) == []
    page.locator(".card").nth(1).get_by_role("link", name="More like this").click()
    expect(page.locator(".refine-example")).to_have_count(1)
    expect(page.locator(".row .card").first).to_be_visible()
    page.locator(".card").nth(1).get_by_role("link", name="Find similar").click()
    expect(page.locator(".prediction h1")).to_have_text("this image")
    expect(page.locator(".row .card").first).to_be_visible()


def test_the_gallery_has_no_classes_and_no_labels_in_doubt(open_unlabelled: OpenPage) -> None:
    page = open_unlabelled("/#/gallery")
    expect(page.locator(".gallery .card")).to_have_count(60)
    expect(page.locator(".class-filter a")).to_have_text(["All", "Added"])
    expect(page.locator(".tabs a")).to_have_text(["All images", "Near-duplicates"])
    expect(page.get_by_role("link", name="Experiments")).to_be_hidden()
    expect(page.locator("#about")).to_contain_text("It knows no classes")
    page.get_by_role("button", name="Select").click()
    page.locator(".select-check").first.check()
    page.get_by_role("button", name="Label…").click()
    page.get_by_role("dialog").get_by_role("combobox").fill("stripes")
    page.get_by_role("button", name="Use this label").click()
    expect(page.locator(".card-label").first).to_have_text("stripes")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".card-label").first).to_have_text("00.jpg")


def test_the_map_has_one_colour(open_unlabelled: OpenPage) -> None:
    page = open_unlabelled("/#/map", reduced_motion="reduce")
    expect(page.locator(".map-stage")).to_be_visible()
    expect(page.get_by_role("region", name="Labels").get_by_role("button")).to_have_text(
        ["no label60"]
    )
    save_screenshot(page, "map-without-classes")


def test_the_experiments_say_that_nothing_was_trained(open_unlabelled: OpenPage) -> None:
    page = open_unlabelled("/#/experiments")
    expect(page.get_by_text("nothing was trained")).to_be_visible()
