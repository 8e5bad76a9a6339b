"""What is checked before a bundle is built, and the line about it at the end."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from tests.support.images import write_folder
from tests.support.processes import ROOT
from training.workflows.existing import summarize_bundle
from training.workflows.release import ReleaseError
from training.workflows.resolve import resolve_bundle
from training.workflows.workspace import Workspace

Usage = namedtuple("Usage", ("total", "used", "free"))


def test_a_full_disk_is_an_error_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "photos", per_class=4, kinds=2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**27))
    workspace = Workspace(tmp_path / "root", torch.device("cpu"))
    with pytest.raises(
        ReleaseError, match=r"0\.1 GiB are free in .*/root, and a bundle of .* 0\.2"
    ):
        resolve_bundle(workspace, folder)
    assert not list((tmp_path / "root").iterdir())


def test_the_line_about_a_bundle_has_its_network_accuracy_images_seconds_and_address() -> None:
    assert summarize_bundle(ROOT / "starter", 12.3, "http://127.0.0.1:8000") == (
        "best-3: test accuracy 0.889 (95 % interval 0.882 to 0.896), 1,000 images of 10 classes, "
        "12 s, http://127.0.0.1:8000"
    )
