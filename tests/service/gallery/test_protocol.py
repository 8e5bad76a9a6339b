"""What every home of the gallery does alike."""

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import ConflictError, NotFoundError
from service.gallery.milvus.view import MilvusView
from service.gallery.protocol import Gallery
from service.gallery.types import Added, Filter, Item, NewVectors, Source
from tests.support.galleries import BACKENDS, Open, addition, vectors
from training.bundle import Bundle, Vectors


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Open:
    """How a gallery is opened."""
    found: Open = BACKENDS[request.param]
    return found


@pytest.fixture
def gallery(backend: Open, loaded: Bundle, tmp_path: Path) -> Iterator[Gallery]:
    """A gallery of the bundle's images alone, that may be changed."""
    opened = backend(loaded, tmp_path)
    yield opened
    opened.close()


def ids(gallery: Gallery, filter_: Filter = Filter()) -> list[str]:  # noqa: B008  frozen
    """All ids, page by page."""
    found: list[str] = []
    after = ""
    while True:
        page = gallery.snapshot().page(7, after=after, filter_=filter_)
        found += [item.id for item in page.items]
        if page.next is None:
            return found
        after = page.next


def nearest(gallery: Gallery, query: Vectors, *, exact: bool = False) -> str:
    """The id of the nearest image at conv2."""
    ((match,),) = gallery.snapshot().search("conv2", query[None], 1, exact=exact)
    return match.item.id


@pytest.mark.parametrize("exact", [False, True])
def test_an_added_image_is_found_by_the_next_search(
    gallery: Gallery, loaded: Bundle, exact: bool
) -> None:
    for seed in range(20):
        new = addition(loaded, seed)
        (added,) = gallery.add([new]).result()
        assert added == Added(new.item, "created")
        for layer, query in new.vectors.items():
            ((match,),) = gallery.snapshot().search(layer, query[None], 1, exact=exact)
            assert match.item == new.item
            assert match.score == pytest.approx(1.0, abs=1e-3)


def test_an_added_image_is_listed_shown_and_counted(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1, attributes={"shelf": 3})
    gallery.add([new]).result()
    assert gallery.snapshot().get("added-0001") == new.item
    assert new.png is not None
    shown, given = (
        np.asarray(Image.open(BytesIO(p)))
        for p in (gallery.snapshot().image("added-0001"), new.png)
    )
    assert (shown == given).all()
    assert len(gallery) == len(loaded.gallery) + 1
    assert gallery.added == 1
    assert ids(gallery) == sorted([*loaded.gallery.ids, "added-0001"])


def test_its_vectors_are_given_at_length_1(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1)
    gallery.add([new]).result()
    one, other = gallery.snapshot().vectors("conv2", ["added-0001", loaded.gallery.ids[0]]).values()
    expected = new.vectors["conv2"] / np.linalg.norm(new.vectors["conv2"])
    assert one == pytest.approx(expected, abs=1e-4)
    assert np.linalg.norm(other) == pytest.approx(1.0, abs=1e-3)


def test_a_repetition_changes_nothing(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1)
    gallery.add([new]).result()
    assert gallery.add([new]).result() == [Added(new.item, "unchanged")]
    assert gallery.add([new, new]).result() == [Added(new.item, "unchanged")] * 2
    assert len(gallery) == len(loaded.gallery) + 1


def test_the_same_new_image_twice_at_once_is_kept_once(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1)
    assert gallery.add([new, new]).result() == [
        Added(new.item, "created"),
        Added(new.item, "unchanged"),
    ]


def test_another_picture_of_the_same_id_is_a_conflict(gallery: Gallery, loaded: Bundle) -> None:
    gallery.add([addition(loaded, 1)]).result()
    other, fine = addition(loaded, 2, image_id="added-0001"), addition(loaded, 3)
    refused, added = gallery.add([other, fine]).result()
    assert isinstance(refused, ConflictError)
    assert added == Added(fine.item, "created")
    bundles = addition(loaded, 4, image_id=loaded.gallery.ids[0])
    assert isinstance(gallery.add([bundles]).result()[0], ConflictError)


@pytest.mark.parametrize("source", ["bundle", "added"])
def test_an_image_can_be_replaced(gallery: Gallery, loaded: Bundle, source: Source) -> None:
    image_id = "added-0001" if source == "added" else loaded.gallery.ids[0]
    if source == "added":
        gallery.add([addition(loaded, 1)]).result()
    before = gallery.snapshot().vectors("conv2", [image_id])[image_id]
    size = len(gallery)
    new = addition(loaded, 2, image_id=image_id)
    assert gallery.add([new], replace=True).result() == [Added(new.item, "replaced")]
    assert len(gallery) == size
    assert nearest(gallery, new.vectors["conv2"]) == image_id
    ((match,),) = gallery.snapshot().search("conv2", before[None], 1)
    assert match.item.id != image_id or match.score < 0.9
    assert ids(gallery).count(image_id) == 1


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("source", ["bundle", "added"])
def test_a_removed_image_is_not_found_any_more(
    gallery: Gallery, loaded: Bundle, exact: bool, source: Source
) -> None:
    gallery.add([addition(loaded, seed) for seed in range(5)]).result()
    image_id = "added-0002" if source == "added" else loaded.gallery.ids[0]
    query = gallery.snapshot().vectors("conv2", [image_id])[image_id]
    assert nearest(gallery, query, exact=exact) == image_id
    gallery.remove(image_id).result()
    assert nearest(gallery, query, exact=exact) != image_id
    assert image_id not in ids(gallery)
    assert len(gallery) == len(loaded.gallery) + 4
    view = gallery.snapshot()
    for missing in (view.get, view.image, lambda one: view.vectors("conv2", [one])):
        with pytest.raises(NotFoundError):
            missing(image_id)
    with pytest.raises(NotFoundError):
        gallery.remove(image_id).result()


def test_a_removed_image_can_come_again(gallery: Gallery, loaded: Bundle) -> None:
    for image_id in ("added-0001", loaded.gallery.ids[0]):
        new = addition(loaded, 1, image_id=image_id)
        gallery.add([new], replace=True).result()
        gallery.remove(image_id).result()
        assert gallery.add([new]).result() == [Added(new.item, "created")]
        assert nearest(gallery, new.vectors["conv2"]) == image_id
        gallery.remove(image_id).result()


@pytest.mark.parametrize("source", ["bundle", "added"])
def test_labels_and_attributes_can_be_changed(
    gallery: Gallery, loaded: Bundle, source: Source
) -> None:
    gallery.add([addition(loaded, 1)]).result()
    image_id = "added-0001" if source == "added" else loaded.gallery.ids[0]
    query = gallery.snapshot().vectors("conv2", [image_id])[image_id]

    def change(item: Item) -> Item:
        return dataclasses.replace(item, label="unicorn", attributes={"horns": 1})

    changed = gallery.edit(image_id, change).result()
    assert (changed.label, changed.attributes) == ("unicorn", {"horns": 1})
    assert gallery.snapshot().get(image_id) == changed
    assert ids(gallery, Filter(label="unicorn")) == [image_id]
    ((match,),) = gallery.snapshot().search(
        "conv2", query[None], 3, filter_=Filter(label="unicorn")
    )
    assert match.item == changed
    assert match.score == pytest.approx(1.0, abs=1e-3)
    assert len(gallery) == len(loaded.gallery) + 1


def test_what_is_not_there_cannot_be_changed(gallery: Gallery) -> None:
    with pytest.raises(NotFoundError):
        gallery.edit("unknown", lambda item: item).result()


def test_only_what_is_wanted_is_found_and_listed(gallery: Gallery, loaded: Bundle) -> None:
    gallery.add(
        [
            addition(loaded, seed, label="cyan" if seed % 2 else "jade", attributes={"n": seed % 3})
            for seed in range(12)
        ]
    ).result()
    queries = np.stack([vectors(loaded, seed)["conv2"] for seed in range(3)])
    for filter_ in (
        Filter(label="cyan"),
        Filter(source="added"),
        Filter(source="bundle", label="jade"),
        Filter(predicted="blue"),
        Filter(attributes=(("n", "2"),)),
        Filter(label="jade", attributes=(("n", "0"),)),
        Filter(attributes=(("unknown", "0"),)),
    ):
        listed = ids(gallery, filter_)
        assert listed == [
            one for one in ids(gallery) if filter_.matches(gallery.snapshot().get(one))
        ]
        for matches in gallery.snapshot().search("conv2", queries, 200, filter_=filter_):
            assert sorted(match.item.id for match in matches) == listed
            scores = [match.score for match in matches]
            assert scores == sorted(scores, reverse=True)


def test_a_label_that_nothing_has_is_not_found(gallery: Gallery, loaded: Bundle) -> None:
    with pytest.raises(NotFoundError, match="unicorn"):
        gallery.snapshot().page(5, filter_=Filter(label="unicorn"))
    with pytest.raises(NotFoundError, match="unicorn"):
        gallery.snapshot().search(
            "logits", vectors(loaded, 1)["logits"][None], 5, filter_=Filter(label="unicorn")
        )


def test_everything_is_there_when_it_is_opened_again(
    backend: Open, loaded: Bundle, tmp_path: Path
) -> None:
    gallery = backend(loaded, tmp_path)
    gallery.add([addition(loaded, seed, attributes={"n": seed}) for seed in range(9)]).result()
    gallery.remove("added-0003").result()
    gallery.remove(loaded.gallery.ids[1]).result()
    for image_id in ("added-0004", loaded.gallery.ids[2]):
        gallery.edit(image_id, lambda item: dataclasses.replace(item, label="unicorn")).result()
    gallery.add([addition(loaded, 10, image_id="added-0005")], replace=True).result()
    before = [gallery.snapshot().get(image_id) for image_id in ids(gallery)]
    gallery.close()
    again = backend(loaded, tmp_path)
    assert [again.snapshot().get(image_id) for image_id in ids(again)] == before
    assert nearest(again, vectors(loaded, 10)["conv2"]) == "added-0005"
    assert nearest(again, vectors(loaded, 4)["conv2"]) == "added-0004"
    assert nearest(again, vectors(loaded, 3)["conv2"]) != "added-0003"
    assert (again.added, len(again)) == (8, len(loaded.gallery) - 1 + 8)
    again.close()


def test_changes_from_many_threads_are_all_made(gallery: Gallery, loaded: Bundle) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda seed: gallery.add([addition(loaded, seed)]).result(), range(60)))
        list(
            threads.map(lambda seed: gallery.remove(f"added-{seed:04d}").result(), range(0, 60, 2))
        )
    expected = [f"added-{seed:04d}" for seed in range(1, 60, 2)]
    assert ids(gallery, Filter(source="added")) == expected
    for seed in range(1, 60, 2):
        assert nearest(gallery, vectors(loaded, seed)["conv2"]) == f"added-{seed:04d}"


def test_images_of_another_network_are_stale_until_they_are_renewed(
    gallery: Gallery, loaded: Bundle
) -> None:
    old = [dataclasses.replace(addition(loaded, seed), network="another") for seed in range(5)]
    gallery.add(old).result()
    assert gallery.outdated_count == 5
    gallery.remove("added-0004").result()
    assert gallery.outdated_count == 4
    stale = gallery.next_outdated(3)
    assert len(stale) == 3
    gallery.add([addition(loaded, 99, image_id=stale[0].id)], replace=True).result()
    gallery.renew(
        [
            NewVectors(one.id, one.revision, vectors(loaded, 50 + n), "jade", gallery.network)
            for n, one in enumerate(stale)
        ]
    ).result()
    assert gallery.outdated_count == 1
    assert nearest(gallery, vectors(loaded, 99)["conv2"]) == stale[0].id
    assert nearest(gallery, vectors(loaded, 51)["conv2"]) == stale[1].id
    assert gallery.snapshot().get(stale[1].id).predicted == "jade"


def test_what_cannot_be_renewed_is_not_stale_and_yet_foreign(
    backend: Open, loaded: Bundle, tmp_path: Path
) -> None:
    whole, bare = (dataclasses.replace(addition(loaded, n), network="another") for n in range(2))
    gallery = backend(loaded, tmp_path)
    gallery.add([whole, dataclasses.replace(bare, png=None), addition(loaded, 2)]).result()
    both = frozenset({"added-0000", "added-0001"})
    asked = [*both, "added-0002", loaded.gallery.ids[0], "unknown"]
    assert (gallery.outdated_count, gallery.snapshot().outdated(asked)) == (1, both)
    gallery.close()
    again = backend(loaded, tmp_path)
    assert (again.outdated_count, again.snapshot().outdated(asked)) == (1, both)
    (stale,) = again.next_outdated(5)
    again.renew(
        [NewVectors(stale.id, stale.revision, whole.vectors, "jade", again.network)]
    ).result()
    assert (again.outdated_count, again.snapshot().outdated(asked)) == (
        0,
        frozenset({"added-0001"}),
    )
    again.remove("added-0001").result()
    assert again.snapshot().outdated(asked) == frozenset()
    again.close()


def test_under_another_bundle_the_same_images_are_added(
    gallery: Gallery, loaded: Bundle, bundle_without_pixels: Bundle
) -> None:
    gallery.add([addition(loaded, 1)]).result()
    other = gallery.rebind(bundle_without_pixels)
    try:
        assert len(other) == len(bundle_without_pixels.gallery) + 1
        other.add([addition(bundle_without_pixels, 2)]).result()
        gallery.add([addition(loaded, 3)]).result()
        for one in (gallery, other):
            assert ids(one, Filter(source="added")) == ["added-0001", "added-0002", "added-0003"]
            assert nearest(one, vectors(loaded, 3)["conv2"]) == "added-0003"
    finally:
        other.close()
    gallery.add([addition(loaded, 4)]).result()
    assert gallery.added == 4


def test_a_network_of_other_dimensions_finds_images_when_they_are_renewed(
    gallery: Gallery, loaded: Bundle
) -> None:
    new = addition(loaded, 1)
    odd = {layer: vector[:-1] for layer, vector in new.vectors.items()}
    gallery.add([dataclasses.replace(new, vectors=odd, network="another")]).result()
    assert gallery.snapshot().get("added-0001") == new.item
    assert nearest(gallery, new.vectors["conv2"]) != "added-0001"
    (stale,) = gallery.next_outdated(10)
    gallery.renew(
        [NewVectors(stale.id, stale.revision, new.vectors, "blue", gallery.network)]
    ).result()
    assert nearest(gallery, new.vectors["conv2"]) == "added-0001"
    assert gallery.outdated_count == 0


def test_a_snapshot_stays_as_it_was(gallery: Gallery, loaded: Bundle) -> None:
    gallery.add([addition(loaded, 1)]).result()
    before = gallery.snapshot()
    gallery.remove("added-0001").result()
    gallery.add([addition(loaded, 2)]).result()
    if isinstance(before, MilvusView):
        pytest.skip("this home has no snapshots")
    assert before.get("added-0001").id == "added-0001"
    ((match,),) = before.search("conv2", vectors(loaded, 1)["conv2"][None], 1)
    assert match.item.id == "added-0001"
    with pytest.raises(NotFoundError):
        before.get("added-0002")
