"""What a gallery on a Milvus does besides: shared by processes, filled once, asked by values."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from milvus_lite.search.filter.tokens import TokenKind, tokenize
from PIL import Image

from service.errors import StorageError, UnavailableError
from service.gallery.factory import open_gallery
from service.gallery.local.gallery import LocalGallery
from service.gallery.milvus import expressions
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.collection import Collection, Row
from service.gallery.milvus.expressions import expression
from service.gallery.milvus.gallery import MilvusGallery
from service.gallery.milvus.rows import MARKERS
from service.gallery.types import Filter, Item, NewVectors, Value
from tests.support.galleries import addition, on_milvus_lite, vectors
from tests.support.images import real_data, striped_image
from tests.support.processes import free_port, milvus_server
from training import bundle as door
from training.bundle import Bundle, Vectors, to_pixels
from training.data.archive import iter_files

STARTER = Path(__file__).parents[3] / "starter"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus in a process of its own."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address


@pytest.fixture(scope="session")
def held_out() -> Vectors:
    """200 pictures uint8 [200, 3, 32, 32] that are in no gallery here: real ones, if there are."""
    if data := real_data():
        taken = islice(
            (read() for path, read in iter_files(data) if path.suffix in (".jpg", ".png")), 200
        )
        pixels = [to_pixels(Image.open(BytesIO(content))) for content in taken]
    else:
        pixels = [striped_image(seed % 10, 50_000 + seed) for seed in range(200)]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    found: Vectors = images.numpy()
    return found


@pytest.mark.parametrize("layer", ["conv2", "logits"])
def test_both_homes_find_the_same_ten_nearest(
    layer: door.Layer, held_out: Vectors, tmp_path: Path
) -> None:
    starter = door.load(STARTER)
    local = LocalGallery.open(starter, tmp_path / "local")
    milvus = on_milvus_lite(starter, tmp_path)
    with torch.inference_mode():
        images = torch.from_numpy(held_out)
        queries = starter.network.representations(images, (layer,))[layer].numpy()
    for gallery in (local, milvus):
        gallery.add([addition(starter, seed) for seed in range(5)]).result()
    try:
        here, there = (
            one.snapshot().search(layer, queries, 10, exact=True) for one in (local, milvus)
        )
    finally:
        local.close()
        milvus.close()
    assert len(here) == len(there) == 200
    for one, other in zip(here, there, strict=True):
        scores = [match.score for match in one]
        assert scores == pytest.approx([match.score for match in other], abs=1e-5)
        if len({round(score, 5) for score in scores}) == len(scores):  # else the order is chance
            assert [match.item for match in one] == [match.item for match in other]


def test_few_dimensions_propose_what_all_would_find(held_out: Vectors, tmp_path: Path) -> None:
    starter = door.load(STARTER)
    gallery = on_milvus_lite(starter, tmp_path)
    gallery.add([addition(starter, seed) for seed in range(5)]).result()
    with torch.inference_mode():
        images = torch.from_numpy(held_out[:50])
        queries = starter.network.representations(images, ("conv2",))["conv2"].numpy()
    try:
        quick, sure = (
            gallery.snapshot().search("conv2", queries, 10, exact=exact) for exact in (False, True)
        )
        ((new,),) = gallery.snapshot().search("conv2", vectors(starter, 3)["conv2"][None], 1)
    finally:
        gallery.close()
    found = [
        len({match.item.id for match in one} & {match.item.id for match in other}) / 10
        for one, other in zip(quick, sure, strict=True)
    ]
    print(f"recall at 10 of {len(found)} queries: {np.mean(found):.4f}")
    assert np.mean(found) >= 0.98
    assert new.item.id == "added-0003"


def test_two_galleries_on_one_server_see_each_others_images(server: str, loaded: Bundle) -> None:
    place = MilvusAddress.parse(f"{server}/shared")
    one, other = MilvusGallery.open(loaded, place), MilvusGallery.open(loaded, place)
    one.add([addition(loaded, 1)]).result()
    assert other.snapshot().get("added-0001").label == "cyan"
    ((match,),) = other.snapshot().search("conv2", vectors(loaded, 1)["conv2"][None], 1)
    assert match.item.id == "added-0001"
    other.remove("added-0001").result()
    other.remove(loaded.gallery.ids[0]).result()
    assert len(one) == len(loaded.gallery) - 1
    assert one.added == 0


def test_the_bundle_is_brought_there_once(server: str, loaded: Bundle) -> None:
    place = MilvusAddress.parse(f"{server}/once")
    MilvusGallery.open(loaded, place)
    rows = Collection(place, {})
    written = _images(rows)
    assert len(written) == len(MilvusGallery.open(loaded, place)) == len(loaded.gallery)
    assert _images(rows) == written


def test_what_was_brought_half_is_completed(server: str, loaded: Bundle) -> None:
    place = MilvusAddress.parse(f"{server}/half")
    MilvusGallery.open(loaded, place).remove(loaded.gallery.ids[3]).result()
    rows = Collection(place, {})
    lost = [row["key"] for row in _all(rows) if row["bundle"] == loaded.manifest.version][:40]
    marks = [row["key"] for row in _all(rows) if row["bundle"] == "filled"]
    rows.delete([*lost, *marks])
    again = MilvusGallery.open(loaded, place)
    assert len(again) == len(loaded.gallery) - 1


def test_what_people_did_to_a_bundles_images_holds_for_the_next_bundle(
    loaded: Bundle, bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    gone, edited, replaced = bundle_without_pixels.gallery.ids[:3]
    assert {gone, edited, replaced} <= set(loaded.gallery.ids)
    gallery = on_milvus_lite(loaded, tmp_path)
    gallery.remove(gone).result()
    gallery.edit(edited, lambda item: dataclasses.replace(item, label="unicorn")).result()
    gallery.add([addition(loaded, 1, image_id=replaced)], replace=True).result()
    other = gallery.rebind(bundle_without_pixels)
    try:
        assert len(other) == len(bundle_without_pixels.gallery) - 1
        assert other.snapshot().get(edited).label == "unicorn"
        assert other.snapshot().get(replaced).source == "added"
        gallery.edit(edited, lambda item: dataclasses.replace(item, label="dragon")).result()
        assert other.snapshot().get(edited).label == "dragon"
        other.remove(edited).result()
        assert len(gallery) == len(loaded.gallery) - 2
    finally:
        other.close()
        gallery.close()


def test_a_file_can_be_opened_by_another_once_it_is_closed(loaded: Bundle, tmp_path: Path) -> None:
    gallery = on_milvus_lite(loaded, tmp_path)
    gallery.add([addition(loaded, 1)]).result()
    gallery.close()
    counting = (
        "from milvus_lite import MilvusLite\n"
        f"with MilvusLite({str(tmp_path / 'gallery.db')!r}) as db:\n"
        "    print(db.get_collection('kindred').num_entities)"
    )
    done = subprocess.run(
        [sys.executable, "-c", counting], capture_output=True, text=True, check=True, timeout=120
    )
    marks = 2  # that all of the bundle is there, and that it is too little for a basis
    assert int(done.stdout) == len(loaded.gallery) + 1 + marks


def test_a_collection_for_other_vectors_is_refused(loaded: Bundle, tmp_path: Path) -> None:
    place = MilvusAddress.parse(f"milvus://{tmp_path}/gallery.db")
    Collection(place, {"conv2": 128, "logits": 128}).close()
    with pytest.raises(StorageError, match="made for other vectors"):
        MilvusGallery.open(loaded, place)


def test_a_milvus_that_is_not_there_is_said_to_be_so(loaded: Bundle) -> None:
    place = MilvusAddress.parse(f"milvus://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match=r"Milvus at http://127\.0\.0\.1"):
        Collection(place, {"conv2": 128}, timeout=2)


def test_a_milvus_that_goes_is_said_to_be_so_and_is_found_again(tmp_path: Path) -> None:
    port = free_port()
    place = MilvusAddress.parse(f"milvus://127.0.0.1:{port}/comes_and_goes")
    with milvus_server(tmp_path, port):
        rows = Collection(place, {"conv2": 128}, timeout=5)
        everything = expression("key != {none}", none="")
        assert rows.count(everything) == 0
    with pytest.raises(UnavailableError):
        rows.count(everything)
    with milvus_server(tmp_path, port):
        assert rows.count(everything) == 0


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("milvus://db:19530/pictures", MilvusAddress("http://db:19530", "pictures")),
        ("milvus://db", MilvusAddress("http://db:19530", "kindred")),
        ("milvus+tls://me:s%40crt@db:1/x", MilvusAddress("https://db:1", "x", "me:s@crt")),
        ("milvus:///a/b.db", MilvusAddress("/a/b.db", "kindred", file=Path("/a/b.db"))),
        ("milvus:///a%20b/c.db#d", MilvusAddress("/a b/c.db", "d", file=Path("/a b/c.db"))),
    ],
)
def test_a_place_is_read_from_a_url(text: str, place: MilvusAddress) -> None:
    assert MilvusAddress.parse(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "folder", "http://db/x", "milvus:///a/b", "milvus://db/a b", "milvus:///a.db#x-y",
     "milvus://db:port/x", "milvus://db:99999/x"],
)  # fmt: skip
def test_what_is_no_place_is_answered_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match="milvus://host:19530/collection"):
        MilvusAddress.parse(text)


@given(st.text())
def test_whatever_is_asked_for_stays_one_value(text: str) -> None:
    """milvus-lite takes no values apart: they are spelled out, and must be read as they were."""
    asked = expression("label == {label}", label=text).with_literals()
    kinds = [token.kind for token in tokenize(asked)]
    assert kinds == [TokenKind.IDENT, TokenKind.EQ, TokenKind.STRING, TokenKind.EOF]
    assert tokenize(asked)[2].value == text


VALUES = st.one_of(
    st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(st.text(), VALUES), st.text(), st.one_of(VALUES, st.text()))
def test_tags_tell_what_attributes_would(
    attributes: dict[str, Value], name: str, value: Value
) -> None:
    asked = str(value).lower() if isinstance(value, bool) else str(value)
    for key, text in ((name, asked), *((key, str(of)) for key, of in attributes.items())):
        filter_ = Filter(attributes=((key, text),))
        among = set(expressions.tags(attributes)) & set(expressions.tags_matching(key, text))
        assert bool(among) == filter_.matches(Item("x", "y", None, attributes=attributes))


def test_while_networks_change_the_older_one_leaves_the_images_to_the_newer(
    loaded: Bundle, bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    older = on_milvus_lite(loaded, tmp_path)
    older.add([addition(loaded, 1)]).result()
    newer = older.rebind(bundle_without_pixels)
    try:
        assert (newer.outdated_count, older.outdated_count) == (1, 0)
        (stale,) = newer.next_outdated(5)
        news = vectors(bundle_without_pixels, 2)
        newer.renew([NewVectors(stale.id, stale.revision, news, "jade", newer.network)]).result()
        assert (newer.outdated_count, older.outdated_count) == (0, 0)
        assert older.next_outdated(5) == []
    finally:
        newer.close()
        older.close()


def _images(rows: Collection) -> dict[str, int]:
    """When each image was written."""
    return {row["key"]: row["revision"] for row in _all(rows) if row["bundle"] not in MARKERS}


def _all(rows: Collection) -> list[Row]:
    return rows.query(expression("key != {none}", none=""), fields=("key", "bundle", "revision"))


def test_what_is_not_installed_is_named(loaded: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("service.gallery.milvus.gallery", "pymilvus"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match="pip install pymilvus"):
        open_gallery("milvus://127.0.0.1:1/x", loaded)
