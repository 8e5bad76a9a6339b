"""What every gallery backend does alike: adding, searching, listing, changing."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.errors import ConflictError, NotFoundError
from service.gallery.conditions import Condition
from service.gallery.milvus.view import MilvusView
from service.gallery.protocol import Gallery
from service.gallery.types import Added, Filter, Item, Source
from tests.support.galleries import Open, addition, ids, nearest, vectors
from training.bundle import Bundle


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


def test_stored_vectors_have_length_1(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1)
    gallery.add([new]).result()
    one, other = gallery.snapshot().vectors("conv2", ["added-0001", loaded.gallery.ids[0]]).values()
    expected = new.vectors["conv2"] / np.linalg.norm(new.vectors["conv2"])
    assert one == pytest.approx(expected, abs=1e-4)
    assert np.linalg.norm(other) == pytest.approx(1.0, abs=1e-3)


def test_adding_an_image_again_changes_nothing(gallery: Gallery, loaded: Bundle) -> None:
    new = addition(loaded, 1)
    gallery.add([new]).result()
    assert gallery.add([new]).result() == [Added(new.item, "unchanged")]
    assert gallery.add([new, new]).result() == [Added(new.item, "unchanged")] * 2
    assert len(gallery) == len(loaded.gallery) + 1


def test_the_same_image_twice_in_one_request_is_stored_once(
    gallery: Gallery, loaded: Bundle
) -> None:
    new = addition(loaded, 1)
    assert gallery.add([new, new]).result() == [
        Added(new.item, "created"),
        Added(new.item, "unchanged"),
    ]


def test_another_image_under_the_same_id_is_a_conflict(gallery: Gallery, loaded: Bundle) -> None:
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


def test_a_removed_image_can_be_added_again(gallery: Gallery, loaded: Bundle) -> None:
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


def test_editing_an_unknown_image_is_not_found(gallery: Gallery) -> None:
    with pytest.raises(NotFoundError):
        gallery.edit("unknown", lambda item: item).result()


def test_searches_and_pages_return_only_matching_images(gallery: Gallery, loaded: Bundle) -> None:
    gallery.add(
        [
            addition(loaded, seed, label="cyan" if seed % 2 else "jade", attributes={"n": seed % 3})
            for seed in range(12)
        ]
    ).result()
    queries = np.stack([vectors(loaded, seed)["conv2"] for seed in range(3)])
    items = [gallery.snapshot().get(one) for one in ids(gallery)]
    for filter_ in (
        Filter(label="cyan"),
        Filter(source="added"),
        Filter(source="bundle", label="jade"),
        Filter(predicted="blue"),
        Filter(attributes=(Condition.parse("n", "2"),)),
        Filter(label="jade", attributes=(Condition.parse("n", "0"),)),
        Filter(attributes=(Condition.parse("unknown", "0"),)),
        Filter(attributes=(Condition.parse("n", "0,2"),)),
        Filter(attributes=(Condition.parse("n", "1.."),)),
        Filter(attributes=(Condition.parse("n", "..0,2..9"),)),
        Filter(attributes=(Condition.parse("n!", "1"),)),
        Filter(source="added", attributes=(Condition.parse("n!", "..1"),)),
    ):
        listed = ids(gallery, filter_)
        assert listed == [item.id for item in items if filter_.matches(item)]
        for matches in gallery.snapshot().search("conv2", queries, 200, filter_=filter_):
            assert sorted(match.item.id for match in matches) == listed
            scores = [match.score for match in matches]
            assert scores == sorted(scores, reverse=True)


def test_a_label_that_no_image_has_is_not_found(gallery: Gallery, loaded: Bundle) -> None:
    with pytest.raises(NotFoundError, match="unicorn"):
        gallery.snapshot().page(5, filter_=Filter(label="unicorn"))
    with pytest.raises(NotFoundError, match="unicorn"):
        gallery.snapshot().search(
            "logits", vectors(loaded, 1)["logits"][None], 5, filter_=Filter(label="unicorn")
        )


def test_a_reopened_gallery_is_the_same(backend: Open, loaded: Bundle, tmp_path: Path) -> None:
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
        list(threads.map(lambda seed: gallery.add([addition(loaded, seed)]).result(), range(24)))
        list(
            threads.map(lambda seed: gallery.remove(f"added-{seed:04d}").result(), range(0, 24, 2))
        )
    expected = [f"added-{seed:04d}" for seed in range(1, 24, 2)]
    assert ids(gallery, Filter(source="added")) == expected
    for seed in range(1, 24, 2):
        assert nearest(gallery, vectors(loaded, seed)["conv2"]) == f"added-{seed:04d}"


def test_a_local_snapshot_never_changes(gallery: Gallery, loaded: Bundle) -> None:
    gallery.add([addition(loaded, 1)]).result()
    before = gallery.snapshot()
    gallery.remove("added-0001").result()
    gallery.add([addition(loaded, 2)]).result()
    if isinstance(before, MilvusView):
        pytest.skip("a Milvus has no snapshots")
    assert before.get("added-0001").id == "added-0001"
    ((match,),) = before.search("conv2", vectors(loaded, 1)["conv2"][None], 1)
    assert match.item.id == "added-0001"
    with pytest.raises(NotFoundError):
        before.get("added-0002")
