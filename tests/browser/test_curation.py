"""Curation: add, label and delete with undo, search by examples, near-duplicates, doubtful labels.

Each test leaves the gallery as it found it, because others share its server.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.browser.conftest import OpenPage, PageLog, page_opener, server
from tests.support.page_objects import (
    PHONE,
    Page,
    accessibility_violations,
    drop,
    expect,
    horizontal_overflow,
    png_image,
    row,
    save_screenshot,
    send_file,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCHEMES = ["light", "dark"]
WIDTHS: list[dict[str, object]] = [{}, PHONE]


@pytest.fixture(scope="module")
def curated_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose gallery these tests change."""
    with server(bundle_path, tmp_path_factory.mktemp("curated")) as url:
        yield url


@pytest.fixture
def open_curated(browser: "Browser", curated_url: str, page_log: PageLog) -> Iterator[OpenPage]:
    yield from page_opener(browser, curated_url, page_log)


@contextmanager
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as opened:
        yield opened


def added(url: str) -> list[str]:
    """Return the ids of the images that were added."""
    with client(url) as opened:
        return [one["id"] for one in opened.get("/gallery?source=added&limit=100").json()["items"]]


def undo(page: Page, said: str | re.Pattern[str]) -> None:
    message = page.locator(".toast")
    expect(message).to_contain_text(said)
    message.get_by_role("button", name="Undo").click()
    expect(message).to_have_count(0)


@pytest.mark.parametrize("options", WIDTHS)
def test_dropped_images_are_added_with_a_label_and_can_be_taken_back(
    open_curated: OpenPage, curated_url: str, page_log: PageLog, options: dict[str, object]
) -> None:
    page = open_curated("/#/gallery", **options)
    page.locator(".card").first.wait_for()
    before = added(curated_url)
    send_file(page, png_image(1, 8_001), more=(png_image(2, 8_002), b"no image"))
    panel = page.get_by_role("region", name="Add images")
    panel.get_by_label("Label").fill("unicorn")
    assert horizontal_overflow(page) <= 0
    assert accessibility_violations(page) == []
    with page.expect_response(lambda response: response.status == 415):
        panel.get_by_role("button", name="Add 3 images").click()
    expect(panel.get_by_role("alert")).to_contain_text("no picture that can be read")
    expect(panel.locator(".card-label", has_text="unicorn")).to_have_count(2)
    assert len(added(curated_url)) == len(before) + 2
    undo(page, "2 images added.")
    expect(panel.locator(".card")).to_have_count(0)
    assert all("415" in text for text in page_log.messages)
    page_log.messages.clear()
    page.wait_for_function(
        "(count) => fetch('/gallery?source=added&limit=100').then((response) => response.json())"
        ".then(({ items }) => items.length === count)",
        arg=len(before),
    )


def test_selected_images_are_labelled_and_the_label_is_undone(
    open_curated: OpenPage, curated_url: str
) -> None:
    page = open_curated("/#/gallery")
    page.get_by_role("button", name="Select", exact=True).click()
    checks = page.get_by_role("checkbox")
    for index in (0, 1):
        checks.nth(index).check()
    bar = page.get_by_role("group", name="Selection")
    expect(bar).to_contain_text("2 images selected")
    first = page.locator(".card").first
    image_id, label = first.get_attribute("data-id"), first.locator(".card-label").inner_text()
    bar.get_by_role("button", name="Label…").click()
    dialog = page.get_by_role("dialog", name="Label 2 images")
    dialog.get_by_label("Label").fill("griffin")
    assert accessibility_violations(page) == []
    page.keyboard.press("Enter")
    expect(page.locator(".card-label", has_text="griffin")).to_have_count(2)
    with client(curated_url) as opened:
        assert opened.get(f"/gallery/{image_id}").json()["label"] == "griffin"
        undo(page, "2 images labelled griffin.")
        expect(page.locator(".card-label", has_text="griffin")).to_have_count(0)
        assert opened.get(f"/gallery/{image_id}").json()["label"] == label


def test_a_deleted_image_comes_back_by_undo_and_is_gone_without(
    open_curated: OpenPage, curated_url: str
) -> None:
    with client(curated_url) as opened:
        created = opened.post("/gallery?label=jade&id=to-delete", content=png_image(4, 8_004))
        assert created.status_code == 201
        page = open_curated("/#/gallery?source=added")
        page.get_by_role("button", name="Select", exact=True).click()
        card = page.locator(".card[data-id=to-delete]")
        for is_undone in (True, False):
            card.get_by_role("checkbox").check()
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(card).to_be_hidden()
            if is_undone:
                undo(page, "1 image deleted.")
                expect(card).to_be_visible()
                assert opened.get("/gallery/to-delete").status_code == 200
        with page.expect_response(
            lambda response: response.request.method == "DELETE", timeout=60_000
        ):
            page.goto(page.url.split("#")[0] + "#/experiments")
        assert opened.get("/gallery/to-delete").status_code == 404


def test_several_selected_images_are_searched_together(open_curated: OpenPage) -> None:
    page = open_curated("/#/gallery")
    page.get_by_role("button", name="Select", exact=True).click()
    for index in (0, 3):
        page.locator(".card .card-action").nth(index).click()
    page.get_by_role("link", name="Find similar", exact=True).click()
    expect(page.locator(".row")).to_have_count(2)
    expect(page.locator(".refine-example")).to_have_count(1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_more_like_this_and_less_like_that_change_the_search(
    open_page: OpenPage, scheme: str
) -> None:
    page = open_page(color_scheme=scheme)
    drop(page)
    cards = row(page, "conv2").locator(".card")
    more, less = (cards.nth(index).get_attribute("data-id") for index in (1, 4))
    cards.nth(1).get_by_role("link", name=re.compile("^More like this")).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".refine-example")).to_have_count(1)
    page.locator(f".row [data-id='{less}']").first.get_by_role(
        "link", name=re.compile("^Less like this")
    ).click()
    expect(page.locator(".refine-example")).to_have_count(2)
    assert f"more={more}" in page.url
    assert f"less={less}" in page.url
    shown = (
        row(page, "conv2")
        .locator(".card")
        .evaluate_all("(cards) => cards.map((card) => card.dataset.id)")
    )
    assert {more, less}.isdisjoint(shown)
    assert accessibility_violations(page) == []
    save_screenshot(page, f"examples-{scheme}")
    page.locator(".refine-example").first.click()
    expect(page.locator(".refine-example")).to_have_count(1)
    page.get_by_role("link", name="Start over").click()
    expect(page.locator(".refine-example")).to_have_count(0)


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, PHONE])
def test_near_duplicates_are_shown_side_by_side(
    open_curated: OpenPage, curated_url: str, options: dict[str, object]
) -> None:
    with client(curated_url) as opened:
        for name in ("twin-a", "twin-b"):
            opened.post(f"/gallery?label=jade&id={name}", content=png_image(5, 8_005))
        page = open_curated("/#/gallery?show=duplicates&threshold=0.99", **options)
        pair = page.locator("[data-pair='twin-a twin-b']")
        expect(pair).to_contain_text("1.000")
        expect(page.locator(".lead").last).to_contain_text(re.compile("pairs?\\.$"))
        assert horizontal_overflow(page) <= 0
        assert accessibility_violations(page) == []
        save_screenshot(page, f"duplicates-{options.get('color_scheme', 'phone')}")
        pair.get_by_role("button", name="Delete twin-b").click()
        expect(pair).to_be_hidden()
        undo(page, "1 image deleted.")
        expect(pair).to_be_visible()
        slider = page.get_by_role("slider")
        slider.press("End")
        slider.dispatch_event("change")
        expect(page).to_have_url(re.compile("threshold=1"))
        for name in ("twin-a", "twin-b"):
            opened.delete(f"/gallery/{name}")


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, PHONE])
def test_a_label_in_doubt_is_corrected_or_kept(
    open_curated: OpenPage, curated_url: str, options: dict[str, object]
) -> None:
    with client(curated_url) as opened:
        items = opened.get("/gallery?limit=100").json()["items"]
        right = next(one for one in items if one["label"] == one["predicted"])
        classes = opened.get("/model").json()["classes"]
        wrong = next(name for name in classes if name != right["label"])
        opened.patch(f"/gallery/{right['id']}", json={"label": wrong})
        page = open_curated("/#/gallery?show=doubtful", **options)
        card = page.locator(f".doubt[data-id='{right['id']}']")
        expect(card).to_contain_text(f"Labelled {wrong}")
        expect(card).to_contain_text(f"The network says {right['label']}.")
        expect(card).to_contain_text("Nearest ten: ")
        assert horizontal_overflow(page) <= 0
        assert accessibility_violations(page) == []
        save_screenshot(page, f"doubtful-{options.get('color_scheme', 'phone')}")
        card.get_by_role("button", name=f"Keep {wrong}").click()
        expect(card).to_be_hidden()
        undo(page, f"Kept as {wrong}.")
        expect(card).to_be_visible()
        card.get_by_role("button", name=f"It is {right['label']}").click()
        expect(card).to_be_hidden()
        assert opened.get(f"/gallery/{right['id']}").json()["label"] == right["label"]


@pytest.fixture(scope="module")
def guarded_url(bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server whose gallery is changed only with an admin key."""
    gallery = tmp_path_factory.mktemp("guarded")
    with server(
        bundle_path, gallery, KINDRED_ADMIN_KEYS="the-key", KINDRED_ALLOW_ANONYMOUS="true"
    ) as url:
        yield url


@pytest.fixture
def open_guarded(browser: "Browser", guarded_url: str, page_log: PageLog) -> Iterator[OpenPage]:
    """Open pages without a key. The browser reports the refusals on the console."""
    yield from page_opener(browser, guarded_url, page_log, expected="40")


def test_a_change_asks_for_an_admin_key_and_continues_with_it(open_guarded: OpenPage) -> None:
    page = open_guarded("/#/gallery")
    page.locator(".card").first.wait_for()
    send_file(page, png_image(1, 8_009))
    page.get_by_role("button", name="Add 1 image").click()
    expect(page.locator(".api-key-form")).to_contain_text("needs an admin key")
    page.get_by_label("Key", exact=True).fill("the-key")
    page.get_by_role("button", name="Use this key").click()
    undo(page, "1 image added.")
