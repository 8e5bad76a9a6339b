"""The map: layers by slider, zoom, pan, lasso, hover, keyboard, phone, and a dropped picture."""

import re
from typing import Any

import pytest

from tests.browser.conftest import OpenPage, PageLog
from tests.support.page_objects import (
    PHONE,
    Page,
    accessibility_violations,
    expect,
    horizontal_overflow,
    png_image,
    save_screenshot,
    send_file,
)

MAP = "/#/map"
FILL = 0.94
"""Share of the shorter side of the stage that the whole map takes."""


def open_map(open_page: OpenPage, address: str = MAP, **options: Any) -> Page:
    page = open_page(address, **{"reduced_motion": "reduce", **options})
    expect(page.locator(".map-stage")).to_be_visible()
    expect(page.get_by_role("region", name="Labels")).to_be_visible()
    return page


def painted(page: Page) -> str:
    """Return what the points look like now."""
    return str(page.evaluate("document.querySelector('.map-stage canvas').toDataURL()"))


def layout(page: Page, layer: str) -> dict[str, Any]:
    answer: dict[str, Any] = page.evaluate(
        "(layer) => fetch(`/map?layer=${layer}`).then((response) => response.json())", layer
    )
    return answer


def shown_layer(page: Page) -> str:
    return page.get_by_role("slider", name="Layer").get_attribute("aria-valuetext") or ""


def position(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return where a place of the map is in the window, if the whole map is shown."""
    box = page.locator(".map-stage").bounding_box()
    assert box is not None
    size = min(box["width"], box["height"]) * FILL
    return (
        box["x"] + box["width"] / 2 + (x - 0.5) * size,
        box["y"] + box["height"] / 2 + (y - 0.5) * size,
    )


def test_the_map_is_fetched_only_when_it_is_opened(open_page: OpenPage, page_log: PageLog) -> None:
    page = open_page()
    page.locator(".examples .card").first.wait_for()

    def of_map() -> list[str]:
        return [url for url in page_log.requests if re.search(r"/map[./?]|map\.css", url)]

    assert of_map() == []
    page.get_by_role("link", name="Map", exact=True).click()
    expect(page.locator(".map-stage")).to_be_visible()
    assert of_map()


def test_the_slider_moves_the_points_through_all_layers(open_page: OpenPage) -> None:
    page = open_map(open_page)
    layers = page.evaluate("fetch('/model').then((response) => response.json())")["map"]["layers"]
    slider = page.get_by_role("slider", name="Layer")
    slider.press("Home")
    seen = {}
    for layer in layers:
        expect(slider).to_have_attribute("aria-valuetext", layer)
        expect(page.locator(".map-quality")).to_contain_text(f"Trustworthiness at {layer}: ")
        expect(page).to_have_url(re.compile(f"layer={layer}"))
        page.wait_for_timeout(100)
        seen[layer] = painted(page)
        slider.press("ArrowRight")
    assert len(set(seen.values())) == len(layers) > 2


def test_the_points_move_between_two_layers(open_page: OpenPage) -> None:
    page = open_map(open_page, reduced_motion="no-preference")
    page.get_by_role("button", name="Play").click()
    before = painted(page)
    page.wait_for_function(
        "(before) => document.querySelector('.map-stage canvas').toDataURL() !== before",
        arg=before,
    )
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_pointing_at_a_point_shows_its_label_and_a_click_searches_it(open_page: OpenPage) -> None:
    page = open_map(open_page)
    points = layout(page, shown_layer(page))
    place = position(page, points["x"][7], points["y"][7])
    page.mouse.move(*place)
    readout = page.locator(".map-readout")
    expect(readout).to_contain_text(re.compile("|".join(map(re.escape, points["ids"]))))
    named = readout.inner_text().split(" · ")[-1]
    page.mouse.click(*place)
    expect(page).to_have_url(re.compile(f"#/image/{re.escape(named)}"))


def test_a_lasso_lists_the_points_inside(open_page: OpenPage) -> None:
    page = open_map(open_page)
    points = layout(page, shown_layer(page))
    corners = [(-0.01, -0.01), (0.5, -0.01), (0.5, 1.01), (-0.01, 1.01)]
    inside = sum(x < 0.5 for x in points["x"])
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(*position(page, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*position(page, *corner), steps=4)
    page.mouse.up()
    chosen = page.get_by_role("region", name="Chosen images")
    expect(chosen.get_by_role("heading")).to_have_text(f"{inside} images chosen")
    expect(chosen.locator(".card")).to_have_count(min(inside, 120))
    chosen.get_by_role("button", name="Close").click()
    expect(page.get_by_role("region", name="Labels")).to_be_visible()


def test_the_map_is_used_by_keyboard_alone(open_page: OpenPage) -> None:
    page = open_map(open_page)
    stage = page.locator(".map-stage")
    stage.focus()
    whole, first = painted(page), shown_layer(page)
    for key in ("+", "+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(page).to_have_url(re.compile("at="))
    assert painted(page) != whole
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Chosen images")).to_be_visible()
    page.keyboard.press("PageDown")
    expect(page.get_by_role("slider", name="Layer")).not_to_have_attribute("aria-valuetext", first)
    page.keyboard.press("PageUp")
    expect(page.get_by_role("slider", name="Layer")).to_have_attribute("aria-valuetext", first)
    page.keyboard.press("0")
    page.wait_for_timeout(200)
    assert painted(page) == whole


def test_a_shared_address_shows_the_same_part_of_the_map(open_page: OpenPage) -> None:
    page = open_map(open_page)
    page.mouse.move(*position(page, 0.4, 0.6))
    page.mouse.wheel(0, -600)
    page.mouse.down()
    page.mouse.move(*position(page, 0.5, 0.5), steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile("at="))
    page.wait_for_timeout(500)
    other = open_map(open_page, "/#" + page.url.split("#")[1])
    found = []
    for one in (page, other):
        one.locator(".map-stage").press("Enter")
        cards = one.get_by_role("region", name="Chosen images").locator(".card")
        expect(cards).to_have_count(24)
        ids = cards.evaluate_all("(cards) => cards.map((card) => card.dataset.id)")
        found.append(sorted(ids))
    assert found[0] == found[1]


def test_near_points_are_thumbnails(open_page: OpenPage, page_log: PageLog) -> None:
    page = open_map(open_page, MAP + "?at=0.5,0.5,1.5")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').some(({ name }) => /image$/.test(name))"
    )
    assert any(url.endswith("/image") for url in page_log.requests)


@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE])
def test_a_dropped_picture_lands_where_its_nearest_are(
    open_page: OpenPage, options: dict[str, Any]
) -> None:
    page = open_map(open_page, MAP, **options)
    send_file(page, png_image())
    nearest = page.get_by_role("region", name="The nearest")
    expect(nearest.get_by_role("listitem")).to_have_count(12)
    expect(page).to_have_url(re.compile("picture=1"))
    scores = [float(text) for text in nearest.locator(".nearest-score").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    first = nearest.get_by_role("heading").inner_text()
    page.get_by_role("slider", name="Layer").press("End")
    expect(nearest.get_by_role("heading")).not_to_have_text(first)
    expect(nearest.get_by_role("listitem")).to_have_count(12)
    assert horizontal_overflow(page) <= 0
    assert accessibility_violations(page) == []
    name = options.get("color_scheme", "phone")
    save_screenshot(page, f"map-{name}")
    page.get_by_role("link", name="Search with it").click()
    expect(page.locator(".row")).to_have_count(2)
    page.get_by_role("link", name="See where it lies on the map").click()
    expect(nearest.get_by_role("listitem")).to_have_count(12)


def test_a_gallery_image_is_shown_with_its_nearest(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples a.card-action").first.click()
    page.get_by_role("link", name="See where it lies on the map").click()
    expect(page.get_by_role("region", name="The nearest").get_by_role("listitem")).to_have_count(11)


def test_labels_can_be_isolated(open_page: OpenPage) -> None:
    page = open_map(open_page)
    before = painted(page)
    label = page.get_by_role("region", name="Labels").get_by_role("button").nth(2)
    label.click()
    expect(label).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(100)
    assert painted(page) != before
    label.click()
    page.wait_for_timeout(100)
    assert painted(page) == before


def test_two_fingers_zoom_the_map(open_page: OpenPage) -> None:
    page = open_map(open_page, MAP, **PHONE)
    page.evaluate(
        """() => {
          const stage = document.querySelector(".map-stage");
          stage.setPointerCapture = () => {};
          const { left, top, width, height } = stage.getBoundingClientRect();
          const send = (type, pointerId, x) => stage.dispatchEvent(new PointerEvent(type, {
            pointerId, clientX: left + x * width, clientY: top + height / 2, bubbles: true,
          }));
          send("pointerdown", 1, 0.45);
          send("pointerdown", 2, 0.55);
          send("pointermove", 1, 0.35);
          send("pointermove", 2, 0.65);
          send("pointerup", 1, 0.35);
          send("pointerup", 2, 0.65);
        }"""
    )
    expect(page).to_have_url(re.compile("at="))
    scale = float(re.split(r"at=|%2C|,", page.url)[-1])
    assert scale == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize(("kind", "begins"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_the_map_is_saved(open_page: OpenPage, kind: str, begins: bytes) -> None:
    page = open_map(open_page)
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save the map as {kind}").click()
    content = download.value.path().read_bytes()
    assert content.startswith(begins)
    assert download.value.suggested_filename.endswith(f".{kind.lower()}")
    if kind == "SVG":
        assert content.count(b"<circle") == len(layout(page, shown_layer(page))["ids"])
