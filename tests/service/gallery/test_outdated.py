"""What every gallery backend does when the network changes: outdated and new vectors."""

import dataclasses
from pathlib import Path

from service.gallery.protocol import Gallery
from service.gallery.types import Filter, NewVectors
from tests.support.galleries import Open, addition, ids, nearest, vectors
from training.bundle import Bundle


def test_images_of_another_network_are_outdated_until_they_are_renewed(
    gallery: Gallery, loaded: Bundle
) -> None:
    old = [dataclasses.replace(addition(loaded, seed), network="another") for seed in range(5)]
    gallery.add(old).result()
    assert gallery.outdated_count == 5
    gallery.remove("added-0004").result()
    assert gallery.outdated_count == 4
    outdated = gallery.next_outdated(3)
    assert len(outdated) == 3
    gallery.add([addition(loaded, 99, image_id=outdated[0].id)], replace=True).result()
    gallery.renew(
        [
            NewVectors(one.id, one.revision, vectors(loaded, 50 + n), "jade", gallery.network)
            for n, one in enumerate(outdated)
        ]
    ).result()
    assert gallery.outdated_count == 1
    assert nearest(gallery, vectors(loaded, 99)["conv2"]) == outdated[0].id
    assert nearest(gallery, vectors(loaded, 51)["conv2"]) == outdated[1].id
    assert gallery.snapshot().get(outdated[1].id).predicted == "jade"


def test_images_without_pixels_are_outdated_but_not_counted_for_renewal(
    backend: Open, loaded: Bundle, tmp_path: Path
) -> None:
    whole, bare = (dataclasses.replace(addition(loaded, n), network="another") for n in range(2))
    gallery = backend(loaded, tmp_path)
    gallery.add([whole, dataclasses.replace(bare, png=None), addition(loaded, 2)]).result()
    both = frozenset({"added-0000", "added-0001"})
    queried = [*both, "added-0002", loaded.gallery.ids[0], "unknown"]
    assert (gallery.outdated_count, gallery.snapshot().outdated(queried)) == (1, both)
    gallery.close()
    again = backend(loaded, tmp_path)
    assert (again.outdated_count, again.snapshot().outdated(queried)) == (1, both)
    (outdated,) = again.next_outdated(5)
    again.renew(
        [NewVectors(outdated.id, outdated.revision, whole.vectors, "jade", again.network)]
    ).result()
    assert (again.outdated_count, again.snapshot().outdated(queried)) == (
        0,
        frozenset({"added-0001"}),
    )
    again.remove("added-0001").result()
    assert again.snapshot().outdated(queried) == frozenset()
    again.close()


def test_a_rebound_gallery_has_the_same_added_images(
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


def test_vectors_of_other_dimensions_are_searched_once_they_are_renewed(
    gallery: Gallery, loaded: Bundle
) -> None:
    new = addition(loaded, 1)
    odd = {layer: vector[:-1] for layer, vector in new.vectors.items()}
    gallery.add([dataclasses.replace(new, vectors=odd, network="another")]).result()
    assert gallery.snapshot().get("added-0001") == new.item
    assert nearest(gallery, new.vectors["conv2"]) != "added-0001"
    (outdated,) = gallery.next_outdated(10)
    gallery.renew(
        [NewVectors(outdated.id, outdated.revision, new.vectors, "blue", gallery.network)]
    ).result()
    assert nearest(gallery, new.vectors["conv2"]) == "added-0001"
    assert gallery.outdated_count == 0
