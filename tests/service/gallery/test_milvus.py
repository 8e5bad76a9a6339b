"""The gallery on a Milvus beyond the protocol: shared, filled once, queried by parameters."""

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
from service.gallery.conditions import Condition, Range, Value
from service.gallery.factory import open_gallery
from service.gallery.local.gallery import LocalGallery
from service.gallery.milvus import expressions
from service.gallery.milvus.address import MilvusAddress
from service.gallery.milvus.collection import Collection, Row
from service.gallery.milvus.expressions import expression
from service.gallery.milvus.gallery import MilvusGallery
from service.gallery.milvus.rows import MARKERS
from service.gallery.types import NewVectors
from tests.support.galleries import addition, on_milvus_lite, vectors
from tests.support.images import real_data, striped_image
from tests.support.lengths import length
from tests.support.processes import free_port, milvus_server
from training import bundle
from training.bundle import Bundle, Layer, Vectors, to_pixels
from training.data.archive import iter_files

QUERIES = length(200, 50)
SAMPLE = length(50, 15)

pytestmark = pytest.mark.slow

STARTER = Path(__file__).parents[3] / "starter"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus in a process of its own."""
    with milvus_server(tmp_path_factory.mktemp("milvus")) as address:
        yield address


@pytest.fixture(scope="session")
def held_out() -> Vectors:
    """200 images uint8 [200, 3, 32, 32] that are in no gallery: real ones, if available."""
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


@pytest.fixture(scope="module")
def starter() -> Bundle:
    """The starter bundle: 1,000 images."""
    return bundle.load(STARTER)


@pytest.fixture(scope="module")
def galleries(
    starter: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalGallery, MilvusGallery]]:
    """Both backends with the starter's images and five more."""
    folder = tmp_path_factory.mktemp("galleries")
    local = LocalGallery.open(starter, folder / "local")
    milvus = MilvusGallery.open(starter, MilvusAddress.parse(f"milvus://{folder}/gallery.db"))
    for gallery in (local, milvus):
        gallery.add([addition(starter, seed) for seed in range(5)]).result()
    yield local, milvus
    local.close()
    milvus.close()


@pytest.mark.soak
@pytest.mark.parametrize("layer", ["conv2", "logits"])
def test_both_backends_find_the_same_ten_nearest(
    layer: Layer,
    held_out: Vectors,
    starter: Bundle,
    galleries: tuple[LocalGallery, MilvusGallery],
) -> None:
    with torch.inference_mode():
        images = torch.from_numpy(held_out[:QUERIES])
        queries = starter.network.representations(images, (layer,))[layer].numpy()
    here, there = (one.snapshot().search(layer, queries, 10, exact=True) for one in galleries)
    assert len(here) == len(there) == QUERIES
    for one, other in zip(here, there, strict=True):
        scores = [match.score for match in one]
        assert scores == pytest.approx([match.score for match in other], abs=1e-5)
        if len({round(score, 5) for score in scores}) == len(scores):  # else the order is arbitrary
            assert [match.item for match in one] == [match.item for match in other]


@pytest.mark.soak
def test_two_stage_search_has_a_recall_of_at_least_098(
    held_out: Vectors, starter: Bundle, galleries: tuple[LocalGallery, MilvusGallery]
) -> None:
    _, milvus = galleries
    with torch.inference_mode():
        images = torch.from_numpy(held_out[:SAMPLE])
        queries = starter.network.representations(images, ("conv2",))["conv2"].numpy()
    quick, sure = (
        milvus.snapshot().search("conv2", queries, 10, exact=exact) for exact in (False, True)
    )
    ((new,),) = milvus.snapshot().search("conv2", vectors(starter, 3)["conv2"][None], 1)
    found = [
        len({match.item.id for match in one} & {match.item.id for match in other}) / 10
        for one, other in zip(quick, sure, strict=True)
    ]
    print(f"recall at 10 of {len(found)} queries: {np.mean(found):.4f}")
    assert np.mean(found) >= 0.98
    assert new.item.id == "added-0003"


def test_two_galleries_on_one_server_see_each_others_images(server: str, loaded: Bundle) -> None:
    address = MilvusAddress.parse(f"{server}/shared")
    one, other = MilvusGallery.open(loaded, address), MilvusGallery.open(loaded, address)
    one.add([addition(loaded, 1)]).result()
    assert other.snapshot().get("added-0001").label == "cyan"
    ((match,),) = other.snapshot().search("conv2", vectors(loaded, 1)["conv2"][None], 1)
    assert match.item.id == "added-0001"
    other.remove("added-0001").result()
    other.remove(loaded.gallery.ids[0]).result()
    assert len(one) == len(loaded.gallery) - 1
    assert one.added == 0


def test_the_bundles_images_are_written_once(server: str, loaded: Bundle) -> None:
    address = MilvusAddress.parse(f"{server}/once")
    MilvusGallery.open(loaded, address)
    rows = Collection(address, {})
    written = _images(rows)
    assert len(written) == len(MilvusGallery.open(loaded, address)) == len(loaded.gallery)
    assert _images(rows) == written


def test_an_interrupted_write_of_the_bundle_is_completed(server: str, loaded: Bundle) -> None:
    address = MilvusAddress.parse(f"{server}/half")
    MilvusGallery.open(loaded, address).remove(loaded.gallery.ids[3]).result()
    rows = Collection(address, {})
    lost = [row["key"] for row in _all(rows) if row["bundle"] == loaded.manifest.version][:40]
    markers = [row["key"] for row in _all(rows) if row["bundle"] == "filled"]
    rows.delete([*lost, *markers])
    again = MilvusGallery.open(loaded, address)
    assert len(again) == len(loaded.gallery) - 1


def test_overrides_of_bundle_images_hold_for_the_next_bundle(
    loaded: Bundle, bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    removed, edited, replaced = bundle_without_pixels.gallery.ids[:3]
    assert {removed, edited, replaced} <= set(loaded.gallery.ids)
    gallery = on_milvus_lite(loaded, tmp_path)
    gallery.remove(removed).result()
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


def test_another_process_can_open_a_file_after_it_was_closed(
    loaded: Bundle, tmp_path: Path
) -> None:
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
    markers = 3  # the bundle is complete, rows are tagged, there are too few for a projection
    assert int(done.stdout) == len(loaded.gallery) + 1 + markers


def test_a_collection_for_other_vectors_is_refused(loaded: Bundle, tmp_path: Path) -> None:
    address = MilvusAddress.parse(f"milvus://{tmp_path}/gallery.db")
    Collection(address, {"conv2": 128, "logits": 128}).close()
    with pytest.raises(StorageError, match="created for other vectors"):
        MilvusGallery.open(loaded, address)


def test_a_milvus_that_cannot_be_reached_is_unavailable(loaded: Bundle) -> None:
    address = MilvusAddress.parse(f"milvus://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError, match=r"Milvus at http://127\.0\.0\.1"):
        Collection(address, {"conv2": 128}, timeout=2)


def test_a_milvus_that_restarts_is_unavailable_and_then_found_again(tmp_path: Path) -> None:
    port = free_port()
    address = MilvusAddress.parse(f"milvus://127.0.0.1:{port}/comes_and_goes")
    with milvus_server(tmp_path, port):
        rows = Collection(address, {"conv2": 128}, timeout=5)
        everything = expression("key != {none}", none="")
        assert rows.count(everything) == 0
    with pytest.raises(UnavailableError):
        rows.count(everything)
    with milvus_server(tmp_path, port):
        assert rows.count(everything) == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("milvus://db:19530/images", MilvusAddress("http://db:19530", "images")),
        ("milvus://db", MilvusAddress("http://db:19530", "kindred")),
        ("milvus+tls://me:s%40crt@db:1/x", MilvusAddress("https://db:1", "x", "me:s@crt")),
        ("milvus:///a/b.db", MilvusAddress("/a/b.db", "kindred", file=Path("/a/b.db"))),
        ("milvus:///a%20b/c.db#d", MilvusAddress("/a b/c.db", "d", file=Path("/a b/c.db"))),
    ],
)
def test_an_address_is_parsed_from_a_url(text: str, address: MilvusAddress) -> None:
    assert MilvusAddress.parse(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "folder", "http://db/x", "milvus:///a/b", "milvus://db/a b", "milvus:///a.db#x-y",
     "milvus://db:port/x", "milvus://db:99999/x"],
)  # fmt: skip
def test_an_invalid_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="milvus://host:19530/collection"):
        MilvusAddress.parse(text)


@given(st.text())
def test_a_label_is_always_one_string_literal(text: str) -> None:
    """milvus-lite has no parameters: values are literals, and must be parsed as they were."""
    written = expression("label == {label}", label=text).with_literals()
    kinds = [token.kind for token in tokenize(written)]
    assert kinds == [TokenKind.IDENT, TokenKind.EQ, TokenKind.STRING, TokenKind.EOF]
    assert tokenize(written)[2].value == text


VALUES = st.one_of(
    st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(st.text(), VALUES), st.text(), st.one_of(VALUES, st.text()))
def test_tags_match_exactly_the_attributes_that_the_filter_matches(
    attributes: dict[str, Value], name: str, value: Value
) -> None:
    text_of_value = str(value).lower() if isinstance(value, bool) else str(value)
    for key, text in (
        (name, text_of_value),
        *((key, str(other)) for key, other in attributes.items()),
    ):
        condition = Condition(key, (text,))
        common = set(expressions.tags(attributes)) & set(expressions.tags_matching(condition))
        assert bool(common) == condition.matches(attributes)


@given(VALUES, st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_tags_are_in_exactly_the_ranges_that_the_filter_matches(
    value: Value, one: float, other: float
) -> None:
    condition = Condition("n", ranges=(Range(min(one, other), max(one, other)),))
    common = set(expressions.tags({"n": value})) & set(expressions.tags_matching(condition))
    assert bool(common) == condition.matches({"n": value})


def test_of_two_networks_only_the_newer_embeds_images_again(
    loaded: Bundle, bundle_without_pixels: Bundle, tmp_path: Path
) -> None:
    older = on_milvus_lite(loaded, tmp_path)
    older.add([addition(loaded, 1)]).result()
    newer = older.rebind(bundle_without_pixels)
    try:
        assert (newer.outdated_count, older.outdated_count) == (1, 0)
        (outdated,) = newer.next_outdated(5)
        news = vectors(bundle_without_pixels, 2)
        newer.renew(
            [NewVectors(outdated.id, outdated.revision, news, "jade", newer.network)]
        ).result()
        assert (newer.outdated_count, older.outdated_count) == (0, 0)
        assert older.next_outdated(5) == []
    finally:
        newer.close()
        older.close()


def _images(rows: Collection) -> dict[str, int]:
    """Return the revision of each image."""
    return {row["key"]: row["revision"] for row in _all(rows) if row["bundle"] not in MARKERS}


def _all(rows: Collection) -> list[Row]:
    return rows.query(expression("key != {none}", none=""), fields=("key", "bundle", "revision"))


def test_a_missing_client_library_is_named(loaded: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("service.gallery.milvus.gallery", "pymilvus"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError, match="pip install pymilvus"):
        open_gallery("milvus://127.0.0.1:1/x", loaded)


def test_a_collection_without_a_field_for_a_further_layer_is_served_without_it(
    loaded: Bundle, tmp_path: Path
) -> None:
    both: tuple[Layer, ...] = ("conv2", "logits")
    older = dataclasses.replace(loaded, indexes={one: loaded.indexes[one] for one in both})
    assert older.network_id != loaded.network_id
    gallery = on_milvus_lite(older, tmp_path)
    gallery.add([addition(older, 1, image_id="kept")]).result()
    gallery.close()
    gallery = on_milvus_lite(loaded, tmp_path)
    try:
        assert gallery.snapshot().layers == both
        assert gallery.network == older.network_id
        assert gallery.outdated_count == 0
        query = vectors(older, 1)["conv2"][None]
        (found,) = gallery.snapshot().search("conv2", query, 1)
        assert found[0].item.id == "kept"
    finally:
        gallery.close()
