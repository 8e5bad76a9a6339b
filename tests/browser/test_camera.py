"""Taking a photo: with the camera dialog of the page, or with the camera app of a phone."""

import re

from tests.browser.conftest import OpenPage
from tests.support.page_objects import PHONE, accessibility_violations, expect, save_screenshot


def test_a_photo_from_the_camera_dialog_is_searched(open_page: OpenPage) -> None:
    page = open_page(permissions=["camera"])
    page.get_by_role("button", name="Take a photo").click()
    dialog = page.get_by_role("dialog", name="Take a photo")
    expect(dialog.get_by_role("button", name="Take it")).to_be_focused()
    assert accessibility_violations(page) == []
    save_screenshot(page, "camera")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(2)
    expect(dialog).to_have_count(0)
    expect(page.locator("figure.original img")).not_to_have_js_property("naturalWidth", 0)


def test_the_camera_is_released_when_its_dialog_is_cancelled(open_page: OpenPage) -> None:
    page = open_page(permissions=["camera"])
    page.evaluate(
        """() => {
          const devices = navigator.mediaDevices;
          const getUserMedia = devices.getUserMedia.bind(devices);
          devices.getUserMedia = async (options) => (window.stream = await getUserMedia(options));
        }"""
    )
    page.get_by_role("button", name="Take a photo").click()
    expect(page.get_by_role("button", name="Take it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.wait_for_function("stream.getTracks().every((track) => track.readyState === 'ended')")
    expect(page.get_by_role("button", name="Take a photo")).to_be_focused()


def test_a_denied_camera_shows_an_error_beside_its_button(open_page: OpenPage) -> None:
    page = open_page()
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


def test_a_phone_opens_its_camera_app(open_page: OpenPage) -> None:
    page = open_page(**PHONE)
    expect(page.locator("main")).not_to_contain_text(re.compile("drop|paste", re.IGNORECASE))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photo").click()
    assert chooser.value.element.get_attribute("capture") == "environment"
