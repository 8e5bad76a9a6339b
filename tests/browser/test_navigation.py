"""From picture to picture: neighbours, back and forward, shared addresses, the gallery."""

from tests.browser.conftest import Open, PageLog
from tests.support.images import KINDS
from tests.support.page_objects import KIND, drop, expect, row, scores


def test_walking_to_a_neighbour_and_back_again(visit: Open) -> None:
    page = visit()
    drop(page)
    before = scores(page, "conv2")
    page.get_by_role("link", name="Find similar").first.click()
    expect(page.locator(".query-images")).to_contain_text("From the gallery")
    walked = page.url
    assert "#/image/" in walked
    page.go_back()
    expect(page.locator(".query-images")).to_contain_text("Your picture")
    assert scores(page, "conv2") == before
    page.go_forward()
    expect(page.locator(".query-images")).to_contain_text("From the gallery")
    assert page.url == walked


def test_a_shared_address_opens_the_same_view(visit: Open) -> None:
    page = visit()
    page.locator(".examples a.card-action").first.click()
    row(page, "conv2").locator("button.card-action").nth(2).click()
    expect(page.locator(".explanation")).to_have_count(1)
    address = "/#" + page.url.split("#")[1]
    title, why = page.title(), page.inner_text(".explanation")
    other = visit(address)
    expect(other.locator(".explanation")).to_have_count(1)
    assert (other.title(), other.inner_text(".explanation")) == (title, why)


def test_the_gallery_pages_on_by_class(visit: Open) -> None:
    page = visit("/#/gallery")
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


def test_of_the_gallery_one_page_at_a_time_is_loaded_and_only_what_is_seen(
    visit: Open, page_log: PageLog
) -> None:
    page = visit("/#/gallery", viewport={"width": 400, "height": 400})
    page.locator(".gallery .card").first.wait_for()
    page.wait_for_load_state("networkidle")
    asked = [url for url in page_log.asked if url.endswith("/image")]
    assert 0 < len(asked) < 60
    page.locator(".gallery .card").last.scroll_into_view_if_needed()
    page.wait_for_load_state("networkidle")
    assert len({url for url in page_log.asked if url.endswith("/image")}) <= 60
    lists = [url for url in page_log.asked if "/gallery?" in url]
    assert len(lists) == 1
    assert "limit=60" in lists[0]
