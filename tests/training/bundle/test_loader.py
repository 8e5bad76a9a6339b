"""Reading a bundle: complete and verified, or not at all."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.numpy import load_file, save

from tests.support.factories import accept, linked_copy, replace_file
from training import bundle
from training.bundle import BundleError
from training.bundle.manifest import MANIFEST, read_manifest
from training.data.dataset import Dataset
from training.data.splits import Splits
from training.models import novelty
from training.models.novelty import Novelty
from training.workflows.release import TrainedModel

FILES = [
    "model.safetensors",
    "network.json",
    "conv2.faiss",
    "penultimate.faiss",
    "logits.faiss",
    "index.json",
    "gallery.json",
    "gallery.npy",
    "novelty.safetensors",
    "model.onnx",
    "ranges.json",
    "known.safetensors",
    "maps.safetensors",
    "decoders.safetensors",
    "README.md",
    "experiments/batchnorm-3-study-*.json",
    "experiments/batchnorm-3-final-*.json",
    "experiments/none-2-study-seed0.json",
    "experiments/none-2-study-seed1.json",
    "figures/curves-batchnorm-3.svg",
    "figures/curves-none-2.svg",
    "figures/overlaid-accuracy.svg",
    "figures/overlaid-loss.svg",
    *(f"figures/neighbours-{number}.png" for number in range(10)),
]


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    """Return a bundle that a test may damage."""
    return linked_copy(bundle_path, tmp_path / "bundle")


@pytest.fixture(scope="module")
def loaded(bundle_path: Path) -> bundle.Bundle:
    return bundle.load(bundle_path)


def test_the_damage_tests_cover_every_file_of_a_bundle(bundle_path: Path) -> None:
    matched = [
        str(file.relative_to(bundle_path)) for name in FILES for file in bundle_path.glob(name)
    ]
    assert sorted(matched) == sorted(read_manifest(bundle_path).files)


def test_the_manifest_lists_every_other_file(bundle_path: Path) -> None:
    files = {str(f.relative_to(bundle_path)) for f in bundle_path.rglob("*") if f.is_file()}
    assert files - {MANIFEST} == set(read_manifest(bundle_path).files)


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_flipped_bit_is_rejected_by_name(name: str, copy: Path) -> None:
    (file,) = copy.glob(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    replace_file(file, bytes(content))
    with pytest.raises(BundleError, match=f"{file} is damaged"):
        bundle.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_rejected_by_name(name: str, copy: Path) -> None:
    (file,) = copy.glob(name)
    replace_file(file, file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{file} is damaged"):
        bundle.load(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_rejected_by_name(name: str, copy: Path) -> None:
    (file,) = copy.glob(name)
    file.unlink()
    with pytest.raises(BundleError, match=f"{file} is missing"):
        bundle.load(copy)


def test_a_missing_manifest_is_rejected(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(BundleError, match=f"no bundle at {copy}: .*{MANIFEST} is missing"):
        bundle.load(copy)


def test_links_that_lead_nowhere_or_in_a_circle_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("gone")
    with pytest.raises(BundleError, match=r"dangling: its link leads to gone, where nothing is"):
        bundle.load(tmp_path / "dangling")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(BundleError, match=r"no bundle at .*circle: .*[Ll]oop"):
        bundle.load(tmp_path / "circle")


def test_paths_that_cannot_be_reached_are_rejected(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(BundleError, match="no bundle at"):
            bundle.load(path)
    (copy / "ranges.json").unlink()
    os.mkfifo(copy / "ranges.json")  # to open it would never return
    with pytest.raises(BundleError, match=r"ranges\.json is not a file"):
        bundle.load(copy)


@pytest.mark.skipif(os.geteuid() != 0, reason="must become another user for a moment")
@pytest.mark.parametrize("closed", ["parent", "parent/bundle", "parent/bundle/ranges.json"])
def test_what_another_user_may_not_read_is_rejected(closed: str, bundle_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:  # folders of pytest are closed themselves
        folder = Path(name)
        (folder / "parent").mkdir()
        copied = Path(shutil.copytree(bundle_path, folder / "parent" / "bundle"))
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)
        (folder / closed).chmod(0o700)
        os.seteuid(65534)
        try:
            with pytest.raises(BundleError, match=r"cannot be read|no bundle at .* denied"):
                bundle.load(copied)
        finally:
            os.seteuid(0)


def test_a_bundle_that_is_overwritten_while_it_is_read_is_rejected(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = novelty.read

    def overwrite(file: Path) -> Novelty:
        (copy / "README.md").write_bytes((copy / "README.md").read_bytes())
        return read(file)

    shutil.copy(copy / "README.md", copy / "new")
    (copy / "new").replace(copy / "README.md")  # not a link to the file of other tests
    monkeypatch.setattr(novelty, "read", overwrite)
    with pytest.raises(BundleError, match=r"was overwritten while it was read: README\.md"):
        bundle.load(copy)


def test_a_loaded_bundle_does_not_depend_on_its_files(bundle_path: Path, tmp_path: Path) -> None:
    """In a process of its own: a map of a truncated file would end it."""
    copied = shutil.copytree(bundle_path, tmp_path / "bundle")
    ended = subprocess.run(
        [sys.executable, "-c", TRUNCATE, copied], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


TRUNCATE = """
import os, sys
from pathlib import Path
import numpy as np
from training import bundle

loaded = bundle.load(Path(sys.argv[1]))
assert loaded.overwritten() == []
arrays = {**loaded.novelty.references, "pixels": loaded.gallery.pixels, **loaded.known.vectors}
copies = {name: np.array(array) for name, array in arrays.items()}
weights = {name: tensor.clone() for name, tensor in loaded.network.state_dict().items()}
for name in loaded.manifest.files:
    os.truncate(loaded.path / name, 0)
assert all(np.array_equal(array, copies[name]) for name, array in arrays.items())
assert all(tensor.equal(weights[name]) for name, tensor in loaded.network.state_dict().items())
pixels = copies["pixels"]
assert len(loaded.indexes["conv2"].reconstruct(range(len(pixels)))) == len(pixels)
assert set(loaded.overwritten()) == set(loaded.manifest.files)
try:
    loaded.read_onnx()
except bundle.BundleError:
    pass
else:
    raise AssertionError
"""


def test_a_folder_that_does_not_exist_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"no bundle at {tmp_path}/none"):
        bundle.load(tmp_path / "none")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format_version": "new"}'])
def test_a_damaged_manifest_is_rejected_by_name(content: bytes, copy: Path) -> None:
    replace_file(copy / MANIFEST, content)
    with pytest.raises(BundleError, match=f"{MANIFEST} cannot be read"):
        bundle.load(copy)


def test_another_format_version_is_rejected_with_both_numbers(copy: Path) -> None:
    # The rest of the manifest may differ in any way in another version.
    replace_file(copy / MANIFEST, json.dumps({"format_version": 3, "new": []}).encode())
    with pytest.raises(BundleError, match="format version 3, this code reads up to 2"):
        bundle.load(copy)


@pytest.mark.parametrize("name", FILES[:7])
def test_a_required_file_that_the_manifest_does_not_list_is_rejected(name: str, copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    del content["files"][name]
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    with pytest.raises(BundleError, match=f"{name} is not listed"):
        bundle.load(copy)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other/manifest.json"])
def test_a_file_outside_the_folder_is_rejected(name: str, copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    content["files"][name] = content["files"]["README.md"]
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    with pytest.raises(BundleError, match="below its folder"):
        bundle.load(copy)


@pytest.mark.parametrize("field", ["model_sha256", "ids_sha256"])
def test_maps_of_another_bundle_are_rejected(field: str, copy: Path) -> None:
    content = json.loads((copy / "index.json").read_text())
    content["maps"][0][field] = "0" * 64
    replace_file(copy / "index.json", json.dumps(content).encode())
    accept(copy, "index.json")
    with pytest.raises(BundleError, match=r"maps.safetensors does not belong"):
        bundle.load(copy)


def test_a_layer_without_index_and_reduced_vectors_cannot_be_mapped(copy: Path) -> None:
    arrays = load_file(copy / "maps.safetensors")
    kept = {name: one for name, one in arrays.items() if name != "conv1.reduced"}
    replace_file(copy / "maps.safetensors", save(kept))
    accept(copy, "maps.safetensors")
    with pytest.raises(BundleError, match=r"maps.safetensors does not belong"):
        bundle.load(copy)


def test_decoders_that_the_manifest_does_not_describe_are_rejected(copy: Path) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    del content["decoders"]["conv3"]
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    with pytest.raises(BundleError, match=r"decoders.safetensors does not belong"):
        bundle.load(copy)


def test_a_bundle_without_maps_and_decoders_is_read(copy: Path) -> None:
    indexes = json.loads((copy / "index.json").read_text())
    indexes["maps"] = []
    replace_file(copy / "index.json", json.dumps(indexes).encode())
    accept(copy, "index.json")
    content = json.loads((copy / MANIFEST).read_text())
    for name in ("maps.safetensors", "decoders.safetensors"):
        del content["files"][name]
        (copy / name).unlink()
    content["decoders"] = {}
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    loaded = bundle.load(copy)
    assert (loaded.maps, loaded.decoders) == ({}, {})


def test_further_indexes_are_searched_after_the_default_ones(loaded: bundle.Bundle) -> None:
    assert list(loaded.indexes) == ["conv2", "penultimate", "logits"]
    assert loaded.spec.searched == ("conv2", "logits", "penultimate")
    assert loaded.architecture.spec.searched == ("conv2", "logits")
    fewer = dict(loaded.indexes)
    del fewer["penultimate"]
    assert replace(loaded, indexes=fewer).network_id != loaded.network_id


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (["conv2"], "has 0 indexes at logits"),
        (["logits"], "has 0 indexes at conv2"),
        (["conv2", "conv2"], "has 2 indexes at conv2"),
        (["conv2", "logits", "logits"], "has 2 indexes at logits"),
    ],
)
def test_an_index_file_without_what_is_searched_is_rejected(
    layers: list[str], reason: str, copy: Path
) -> None:
    content = json.loads((copy / "index.json").read_text())
    by_layer = {entry["layer"]: entry for entry in content["indexes"]}
    content["indexes"] = [by_layer[layer] for layer in layers]
    replace_file(copy / "index.json", json.dumps(content).encode())
    accept(copy, "index.json")
    with pytest.raises(BundleError, match=f"index.json {reason}"):
        bundle.load(copy)


def test_swapped_layers_are_rejected(copy: Path) -> None:
    content = (copy / "index.json").read_text()
    swapped = content.replace('"conv2"', '"other"').replace('"logits"', '"conv2"')
    replace_file(copy / "index.json", swapped.replace('"other"', '"logits"').encode())
    accept(copy, "index.json")
    with pytest.raises(BundleError, match="does not belong"):
        bundle.load(copy)


@pytest.mark.parametrize("bounds", [[0.0, 0.0], [5.0, -5.0], [1.0, 2.0], [-1.0, "Infinity"]])
def test_ranges_that_are_empty_or_out_of_order_are_rejected(
    bounds: list[float], copy: Path
) -> None:
    content = json.loads((copy / "ranges.json").read_text())
    content["inputs"]["blocks.0.conv2"] = bounds
    replace_file(copy / "ranges.json", json.dumps(content).encode())
    accept(copy, "ranges.json")
    with pytest.raises(BundleError, match=r"ranges\.json cannot be read: inputs\.blocks\.0\.conv2"):
        bundle.load(copy)


def test_the_network_gives_what_the_bundle_knows_of_one_image(loaded: bundle.Bundle) -> None:
    known = loaded.known
    assert known is not None
    image = torch.from_numpy(known.pixels.copy()).permute(2, 0, 1)[None]
    with torch.inference_mode():
        found = loaded.network.representations(image, ("conv2", "logits"))
    vectors = {layer: rows[0].numpy() for layer, rows in found.items()}
    assert known.mismatch(vectors) is None
    reversed_logits = {**vectors, "logits": vectors["logits"][::-1]}
    assert "logits has a cosine" in str(known.mismatch(reversed_logits))
    assert "no vector of 8192" in str(known.mismatch({"logits": vectors["logits"]}))
    not_numbers = {**vectors, "conv2": vectors["conv2"] * np.nan}
    assert "conv2 has a cosine of nan" in str(known.mismatch(not_numbers))


def test_an_older_bundle_knows_the_clearest_image_of_its_gallery(
    copy: Path, loaded: bundle.Bundle
) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    del content["files"]["known.safetensors"]
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    known = bundle.load(copy).known
    assert known is not None
    assert loaded.gallery.pixels is not None
    (row,) = np.flatnonzero((loaded.gallery.pixels == known.pixels).all((1, 2, 3)))
    for layer, index in loaded.indexes.items():
        assert np.array_equal(index.reconstruct([int(row)])[0], known.vectors[layer])


def test_an_onnx_file_that_the_manifest_does_not_list_is_ignored(
    copy: Path,
) -> None:
    content = json.loads((copy / MANIFEST).read_text())
    del content["files"]["model.onnx"]
    replace_file(copy / MANIFEST, json.dumps(content).encode())
    assert bundle.load(copy).onnx is None


def test_a_record_that_the_manifest_does_not_list_is_ignored(copy: Path) -> None:
    (copy / "experiments" / "stray.json").write_text("{}")
    assert len(bundle.load(copy).records) == 4


@pytest.mark.parametrize(
    "name", ["model.safetensors", "gallery.json", "index.json", "conv2.faiss", "logits.faiss"]
)
def test_an_intact_file_of_another_bundle_is_rejected(
    name: str, copy: Path, bundle_without_pixels_path: Path
) -> None:
    replace_file(copy / name, (bundle_without_pixels_path / name).read_bytes())
    accept(copy, name)
    with pytest.raises(BundleError, match=r"does not belong|holds a"):
        bundle.load(copy)


def test_an_index_of_another_network_is_rejected_by_name(copy: Path) -> None:
    content = (copy / "index.json").read_text()
    model = read_manifest(copy).files["model.safetensors"].sha256
    replace_file(copy / "index.json", content.replace(model, "0" * 64).encode())
    accept(copy, "index.json")
    with pytest.raises(BundleError, match=r"conv2\.faiss does not belong"):
        bundle.load(copy)


def test_an_index_of_another_gallery_is_rejected_by_name(copy: Path) -> None:
    content = json.loads((copy / "gallery.json").read_text())
    content["ids"][0] = "another"
    replace_file(copy / "gallery.json", json.dumps(content).encode())
    accept(copy, "gallery.json")
    with pytest.raises(BundleError, match=r"conv2\.faiss does not belong"):
        bundle.load(copy)


def test_two_images_with_the_same_id_are_rejected(copy: Path) -> None:
    content = json.loads((copy / "gallery.json").read_text())
    content["ids"][0] = content["ids"][1]
    replace_file(copy / "gallery.json", json.dumps(content).encode())
    accept(copy, "gallery.json")
    with pytest.raises(BundleError, match=r"gallery\.json does not belong"):
        bundle.load(copy)


def test_a_label_without_a_class_is_rejected(copy: Path) -> None:
    content = json.loads((copy / "gallery.json").read_text())
    content["labels"][0] = 10
    replace_file(copy / "gallery.json", json.dumps(content).encode())
    accept(copy, "gallery.json")
    with pytest.raises(BundleError, match=r"gallery\.json does not belong"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "pixels", [np.zeros((149, 32, 32, 3), np.uint8), np.zeros((150, 32, 32, 3), np.float32)]
)
def test_pixels_of_another_shape_or_type_are_rejected(
    pixels: npt.NDArray[Any],
    copy: Path,
) -> None:
    (copy / "gallery.npy").unlink()
    np.save(copy / "gallery.npy", pixels)
    accept(copy, "gallery.npy")
    with pytest.raises(BundleError, match=r"gallery\.npy does not belong"):
        bundle.load(copy)


def test_pickled_pixels_are_rejected_without_unpickling(copy: Path) -> None:
    (copy / "gallery.npy").unlink()
    np.save(copy / "gallery.npy", np.array([{"not": "pixels"}]), allow_pickle=True)
    accept(copy, "gallery.npy")
    with pytest.raises(BundleError, match=r"gallery\.npy"):
        bundle.load(copy)


def test_a_bundle_contains_no_pickle(bundle_path: Path) -> None:
    suffixes = {file.suffix for file in bundle_path.rglob("*") if file.is_file()}
    assert suffixes == {".json", ".safetensors", ".faiss", ".npy", ".md", ".svg", ".png", ".onnx"}
    for file in bundle_path.rglob("*"):
        assert file.is_dir() or not file.read_bytes().startswith((b"\x80", b"PK"))


def test_the_loaded_network_has_the_trained_weights(
    loaded: bundle.Bundle, trained: TrainedModel
) -> None:
    assert not loaded.network.training
    network = deepcopy(trained.network)
    network.centre_logits()
    weights = network.state_dict()
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, weights[name].cpu())


def test_the_gallery_is_the_test_split(
    loaded: bundle.Bundle, generated: Dataset, splits: Splits
) -> None:
    test = splits.indices("test")
    assert loaded.gallery.ids == tuple(generated.ids[position] for position in test)
    assert np.array_equal(loaded.gallery.labels, generated.labels[test])
    assert loaded.gallery.pixels is not None
    assert np.array_equal(loaded.gallery.pixels, generated.images[test].permute(0, 2, 3, 1))


def test_a_gallery_image_is_its_own_nearest_neighbour(loaded: bundle.Bundle) -> None:
    assert loaded.gallery.pixels is not None
    images = torch.from_numpy(loaded.gallery.pixels[:20].copy()).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = loaded.network.representations(images, ("conv2", "logits"))
    assert {layer: vectors.shape[1] for layer, vectors in found.items()} == {
        "conv2": 8192,
        "logits": 10,
    }
    for layer, vectors in found.items():
        scores, positions = loaded.indexes[layer].search(vectors.numpy(), 1)
        assert positions[:, 0].tolist() == list(range(20))
        assert (scores >= 0.999).all()


def test_the_loaded_records_are_those_of_training(
    bundle_without_pixels_path: Path, trained: TrainedModel
) -> None:
    assert bundle.load(bundle_without_pixels_path).records == tuple(trained.records)


def test_figures_are_found_by_name(loaded: bundle.Bundle) -> None:
    figure = loaded.figures.get("curves-batchnorm-3.svg")
    assert figure
    assert figure.startswith(b"<?xml")
    assert "none.svg" not in loaded.figures
    assert "../README.md" not in loaded.figures


def test_every_id_has_its_position(loaded: bundle.Bundle) -> None:
    assert [loaded.gallery.positions[name] for name in loaded.gallery.ids] == list(range(150))


def test_a_bundle_without_pixels_has_all_other_parts(
    bundle_without_pixels_path: Path,
) -> None:
    found = bundle.load(bundle_without_pixels_path)
    assert found.gallery.pixels is None
    assert not found.manifest.gallery.pixels
    assert np.bincount(found.gallery.labels).tolist() == [10] * 10
    assert {layer: index.factory for layer, index in found.index_metadata.items()} == {
        "conv2": "SQfp16",
        "penultimate": "SQfp16",
        "logits": "Flat",
    }


def test_a_link_to_a_bundle_is_resolved(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(bundle_path)
    assert bundle.load(tmp_path / "current").path == bundle_path.resolve()
