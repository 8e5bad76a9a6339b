"""Taking a photo: with this machine's camera, or on a phone with its own app."""

import re

from tests.browser.conftest import Open
from tests.support.page_objects import PHONE, accessibility_violations, expect, save_screenshot


def test_a_photo_is_taken_with_the_camera_of_this_machine(visit: Open) -> None:
    page = visit(permissions=["camera"])
    page.get_by_role("button", name="Take a photo").click()
    dialog = page.get_by_role("dialog", name="Take a photo")
    expect(dialog.get_by_role("button", name="Take it")).to_be_focused()
    assert accessibility_violations(page) == []
    save_screenshot(page, "camera")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    expect(dialog).to_have_count(0)
    expect(page.locator("figure.original img")).not_to_have_js_property("naturalWidth", 0)


def test_the_camera_is_let_go_of_where_no_photo_is_taken(visit: Open) -> None:
    page = visit(permissions=["camera"])
    page.evaluate(
        """() => {
          const devices = navigator.mediaDevices;
          const ask = devices.getUserMedia.bind(devices);
          devices.getUserMedia = async (asked) => (window.stream = await ask(asked));
        }"""
    )
    page.get_by_role("button", name="Take a photo").click()
    expect(page.get_by_role("button", name="Take it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.wait_for_function("stream.getTracks().every((track) => track.readyState === 'ended')")
    expect(page.get_by_role("button", name="Take a photo")).to_be_focused()


def test_a_camera_that_may_not_be_used_is_said_beside_its_button(visit: Open) -> None:
    page = visit()
    page.evaluate(
        """() => {
          navigator.mediaDevices.getUserMedia = async () => {
            throw new DOMException("no", "NotAllowedError");
          };
        }"""
    )
    page.get_by_role("button", name="Take a photo").click()
    expect(page.locator(".upload-buttons").get_by_role("alert")).to_contain_text(
        "Allow it for this page"
    )


def test_on_a_phone_the_camera_app_takes_the_photo(visit: Open) -> None:
    page = visit(**PHONE)
    expect(page.locator("main")).not_to_contain_text(re.compile("drop|paste", re.IGNORECASE))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").click()
    assert chooser.value.element.get_attribute("capture") == "environment"
