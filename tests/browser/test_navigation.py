"""Navigation: from image to image, back and forward, shared addresses, pages of the gallery."""

from tests.browser.conftest import OpenPage, PageLog
from tests.support.images import KINDS
from tests.support.page_objects import KIND, drop, expect, row, scores


def test_back_and_forward_lead_between_a_query_and_its_neighbour(open_page: OpenPage) -> None:
    page = open_page()
    drop(page)
    before = scores(page, "conv2")
    page.get_by_role("link", name="Find similar").first.click()
    expect(page.locator(".query-images")).to_contain_text("From the gallery")
    neighbour = page.url
    assert "#/image/" in neighbour
    page.go_back()
    expect(page.locator(".query-images")).to_contain_text("Your image")
    assert scores(page, "conv2") == before
    page.go_forward()
    expect(page.locator(".query-images")).to_contain_text("From the gallery")
    assert page.url == neighbour


def test_a_shared_address_opens_the_same_view(open_page: OpenPage) -> None:
    page = open_page()
    page.locator(".examples a.card-action").first.click()
    row(page, "conv2").locator("button.card-action").nth(2).click()
    expect(page.locator(".explanation")).to_have_count(1)
    address = "/#" + page.url.split("#")[1]
    title, explanation = page.title(), page.inner_text(".explanation")
    other = open_page(address)
    expect(other.locator(".explanation")).to_have_count(1)
    assert (other.title(), other.inner_text(".explanation")) == (title, explanation)


def test_the_gallery_has_pages_and_a_filter_by_class(open_page: OpenPage) -> None:
    page = open_page("/#/gallery")
    expect(page.locator(".gallery .card")).to_have_count(60)
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_role("link", name="Previous page")).to_be_visible()
    assert page.locator(".gallery .card").count() <= 60
    page.get_by_role("link", name="Previous page").click()
    expect(page.get_by_role("link", name="Previous page")).to_have_count(0)
    page.get_by_role("link", name=KINDS[KIND], exact=True).click()
    expect(page.locator(".class-filter [aria-current]")).to_have_text(KINDS[KIND])
    for link in page.locator(".gallery a.card-action").all():
        assert (link.get_attribute("aria-label") or "").startswith(
            f"Find similar to {KINDS[KIND]},"
        )


def test_the_gallery_requests_one_page_and_only_the_images_in_view(
    open_page: OpenPage, page_log: PageLog
) -> None:
    page = open_page("/#/gallery", viewport={"width": 400, "height": 400})
    images = page.locator(".gallery img")
    expect(images).to_have_count(60)
    expect(images.first).to_have_js_property("naturalWidth", 32)
    page.wait_for_load_state("networkidle")
    assert 0 < len(requested_images(page_log)) < 60
    images.last.scroll_into_view_if_needed()
    expect(images.last).to_have_js_property("naturalWidth", 32)
    assert len(set(requested_images(page_log))) <= 60
    lists = [url for url in page_log.requests if "/gallery?" in url]
    assert len(lists) == 1
    assert "limit=60" in lists[0]


def requested_images(page_log: PageLog) -> list[str]:
    return [url for url in page_log.requests if url.endswith("/image")]
