"""Tests of `python -m training`: output, error messages, exit codes."""

import json
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from tests.conftest import short
from tests.support.factories import linked_copy, replace_file
from tests.support.images import write_folder
from tests.support.processes import ROOT
from training import bundle
from training import cli as command_line
from training.bundle.manifest import MANIFEST
from training.bundle.updater import write_source
from training.bundle.writer import update_current_link
from training.cli import train
from training.data.dataset import Dataset
from training.data.source import key_of, scan
from training.experiments import record
from training.experiments.catalogue import EXPERIMENTS, find
from training.experiments.config import Experiment
from training.workflows import workspace as workspace_module


def one_epoch(name: str) -> Experiment:
    return short(find(name), 1)


class Outcome:
    """The exit code and the output of a command."""

    def __init__(self, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        self.code = code
        self.out, self.err = capsys.readouterr()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KINDRED_DATA", "KINDRED_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)


class Command:
    """Runs the command line in this process."""

    def __init__(
        self, root: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.root, self.patch, self.capsys = root, patch, capsys

    def __call__(self, *words: str | Path) -> Outcome:
        self.capsys.readouterr()
        self.patch.setattr(sys, "argv", ["training", *map(str, words), "--root", str(self.root)])
        with pytest.raises(SystemExit) as left:
            command_line.main()
        return Outcome(int(left.value.code or 0), self.capsys)


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    return Command(tmp_path / "root", monkeypatch, capsys)


def test_the_error_for_an_unknown_experiment_lists_the_names() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", "batchnorm-4"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no experiment 'batchnorm-4'")
    assert all(experiment.name in line for experiment in EXPERIMENTS)


def test_a_sweep_with_an_unknown_name_runs_nothing(command: Command) -> None:
    outcome = command("sweep", "none-2", "nonsense")
    assert outcome.code == 1
    assert "no experiment 'nonsense'" in outcome.err
    assert not command.root.exists()


@pytest.mark.parametrize("words", [["run", "none-2"], ["sweep"], ["release"], ["resolve-bundle"]])
def test_the_error_for_missing_data_names_the_path(
    words: list[str], command: Command, tmp_path: Path
) -> None:
    outcome = command(*words, "--data", tmp_path / "none")
    assert (outcome.code, outcome.out) == (1, "")
    message = outcome.err.splitlines()[-1]
    assert message == f"error: no data at {tmp_path}/none: no such file or folder"


def test_kindred_data_names_the_data(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINDRED_DATA", str(tmp_path / "elsewhere"))
    assert f"no data at {tmp_path}/elsewhere" in command("run", "none-2").err


def test_the_error_for_an_empty_folder_names_the_expected_layout(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "[empty] folder").mkdir()
    outcome = command("run", "none-2", "--data", tmp_path / "[empty] folder")
    assert outcome.code == 1
    assert f"no train images in {tmp_path}/[empty] folder: looked for train/<class>" in outcome.err


def test_the_error_for_a_missing_device_names_it(command: Command) -> None:
    outcome = command("run", "none-2", "--device", "cuda:99")
    assert outcome.code == 1
    assert "device not available: 'cuda:99'; choose one of cpu" in outcome.err


def test_classes_with_too_few_images_are_named_before_any_training(
    command: Command, tmp_path: Path
) -> None:
    outcome = command("run", "none-2", "--data", write_folder(tmp_path / "few", 3, kinds=2))
    assert outcome.code == 1
    assert "too few images in few: class 'amber' has 3, 'blue' has 3" in outcome.err
    assert not (command.root / "experiments").exists()


def test_the_error_for_a_missing_bundle_names_the_path(command: Command) -> None:
    outcome = command("eval-retrieval")
    assert outcome.code == 1
    assert f"error: no bundle at {command.root}/bundles/current" in outcome.err


@pytest.mark.parametrize("bad", ["--split-seed=-1", "--seed=x"])
def test_the_error_for_an_invalid_option_names_it(bad: str, command: Command) -> None:
    outcome = command("run", "none-2", bad)
    assert outcome.code == 2
    assert bad.partition("=")[0] in outcome.err


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.app(["--help"])
    found = capsys.readouterr().out
    assert all(
        name in found
        for name in ("run", "sweep", "release", "reindex", "resolve-bundle", "eval-retrieval")
    )


def test_help_lists_no_former_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.app(["--help"])
    first_words = {line.split()[1] for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert {*command_line.RENAMED.values()} <= first_words
    assert not {*command_line.RENAMED} & first_words


@pytest.mark.parametrize(("former", "name"), command_line.RENAMED.items())
def test_a_former_name_calls_the_command_and_prints_its_new_name_on_stderr(
    former: str, name: str, command: Command, tmp_path: Path
) -> None:
    words: list[str | Path] = (
        ["--data", tmp_path / "none"] if name in {"sweep", "resolve-bundle"} else []
    )
    by_former_name, by_name = command(former, *words), command(name, *words)
    assert by_former_name.err == f"`{former}` is now called `{name}`\n{by_name.err}"
    assert (by_former_name.code, by_former_name.out) == (by_name.code, by_name.out)


def test_resolve_bundle_by_its_former_name_prints_the_bundle_alone_on_stdout(
    command: Command,
) -> None:
    outcome = command("prepare", "--no-download")
    assert (outcome.code, outcome.out) == (0, f"{command.root}/starter\n")


def test_run_prints_the_path_of_its_record(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "find", one_epoch)
    folder = write_folder(tmp_path / "two", per_class=6, kinds=2)
    outcome = command("run", "none-2", "--data", folder, "--seed", "3")
    assert outcome.code == 0
    made = record.read(Path(outcome.out.strip()))
    assert (made.experiment, made.seeds.init, made.dataset.name) == ("none-2", 3, "two")
    assert "epoch  1" in outcome.err


def test_epochs_sets_the_epochs_of_a_run(command: Command, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "two", per_class=6, kinds=2)
    made = record.read(
        Path(command("run", "none-2", "--data", folder, "--epochs", "1").out.strip())
    )
    assert (made.config.epochs, len(made.curves)) == (1, 1)


def test_after_ctrl_c_a_line_says_that_the_same_command_continues(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace_module, "run", interrupted)
    outcome = command("sweep", "--data", write_folder(tmp_path / "two", per_class=6, kinds=2))
    assert outcome.code == train.INTERRUPTED
    assert outcome.err.splitlines()[-1].startswith("stopped: the same command continues")
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_release_prints_its_bundle_and_makes_it_current(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_module, "find", one_epoch)
    folder = write_folder(tmp_path / "two", per_class=6, kinds=2)
    outcome = command("release", "--data", folder)
    assert outcome.code == 0
    made = Path(outcome.out.strip())
    assert bundle.load(made).manifest.classes == ("amber", "blue")
    assert (command.root / "bundles" / "current").resolve() == made


def test_reindex_gives_the_network_another_gallery(
    command: Command,
    bundle_path: Path,
    generated: Dataset,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The network was trained on these images without their files, so by another fingerprint.
    monkeypatch.setattr(Dataset, "fingerprint", generated.fingerprint)
    smaller = tmp_path / "smaller"
    outcome = command(
        "reindex", "--bundle", bundle_path, "--data", image_folder,
        "--output", smaller, "--per-class", "3", "--no-pixels", "--half",
    )  # fmt: skip
    assert (outcome.code, outcome.out.strip()) == (0, str(smaller)), outcome.err
    found = bundle.load(smaller)
    assert (len(found.gallery), found.gallery.pixels) == (30, None)
    assert found.manifest.run_id == bundle.load(bundle_path).manifest.run_id
    assert not (command.root / "bundles" / "current").exists()


def test_resolve_bundle_prints_the_bundle_alone(command: Command, bundle_path: Path) -> None:
    built = linked_copy(bundle_path, command.root / "bundles" / "mine")
    update_current_link(command.root / "bundles" / "current", built)
    assert command("resolve-bundle").out == f"{built}\n"


def test_resolve_bundle_without_download_prints_the_starter_and_one_line_on_stderr(
    command: Command,
) -> None:
    outcome = command("resolve-bundle", "--no-download")
    assert outcome.out == f"{command.root}/starter\n"
    assert len(outcome.err.splitlines()) == 1


def test_embed_prints_the_number_of_embedded_images(
    command: Command, bundle_path: Path, tmp_path: Path
) -> None:
    images = write_folder(tmp_path / "images", per_class=3, kinds=2)
    (images / "train" / "amber" / "00000.png").write_bytes(b"not an image")
    words: list[str | Path] = [
        "embed", images, tmp_path / "shards", "--bundle", bundle_path, "--size", "4",
    ]  # fmt: skip
    outcome = command(*words)
    assert (outcome.code, outcome.out) == (1, "5\n")  # one of them could not be read
    assert "shards: 2 written, 0 existing, 0 skipped" in outcome.err
    assert "skipped, cannot be read: train/amber/00000.png" in outcome.err
    assert "shards: 0 written, 2 existing" in command(*words).err


def test_the_error_for_an_invalid_shard_is_one_line(
    command: Command, bundle_path: Path, tmp_path: Path
) -> None:
    outcome = command(
        "embed", tmp_path, tmp_path / "shards", "--bundle", bundle_path, "--shard", "5/4"
    )
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        "error: invalid shard '5/4': give it as 1/4, the first of four"
    )


def test_eval_retrieval_prints_precision_by_layer_and_class(
    command: Command, bundle_path: Path
) -> None:
    outcome = command("eval-retrieval", "--bundle", bundle_path)
    assert outcome.code == 0
    metrics = bundle.load(bundle_path).manifest.metrics
    assert metrics
    (total,) = (line for line in outcome.out.splitlines() if " all " in line)
    assert all(f"{share:.3f}" in total for share in metrics.label_share_at_10.values())
    assert all(name in outcome.out for name in ("conv2", "logits", "amber", "jade"))


def with_class(name: str, bundle_path: Path, target: Path) -> Path:
    """Copy a bundle; give a class and the bundle this name."""
    renamed = linked_copy(bundle_path, target)
    manifest = json.loads((renamed / MANIFEST).read_text())
    manifest["classes"][0] = manifest["name"] = name
    replace_file(renamed / MANIFEST, json.dumps(manifest).encode())
    return renamed


@pytest.mark.parametrize("name", ["[/b]", "cat [old]", ":cat:"])
def test_a_table_shows_the_names_of_classes_as_they_are(
    name: str, command: Command, bundle_path: Path, tmp_path: Path
) -> None:
    renamed = with_class(name, bundle_path, tmp_path / "bundle")
    outcome = command("eval-retrieval", "--bundle", renamed)
    assert outcome.code == 0
    assert len([line for line in outcome.out.splitlines() if name in line]) == 2  # title and row


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_beyond_the_encoding_of_the_output_are_escaped(
    encoding: str, bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = with_class("é", bundle_path, tmp_path / "bundle")
    printed = BytesIO()
    monkeypatch.setattr(sys, "argv", ["training", "eval-retrieval", "--bundle", str(renamed)])
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(printed, encoding))
    with pytest.raises(SystemExit) as left:
        command_line.main()
    sys.stdout.flush()
    assert not left.value.code
    assert ("\\xe9" if encoding == "ascii" else "é") in printed.getvalue().decode(encoding)


IMPORTED = """
import sys
from training import cli
sys.argv = ["training", *sys.argv[1:]]
try:
    cli.main()
finally:
    slow = {"torch", "torchvision", "matplotlib", "onnx", "pyarrow"} & sys.modules.keys()
    print("imported:", *sorted(slow))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("run", "--help"),
        ("resolve-bundle", "--root", "{root}"),
        ("resolve-bundle", "--root", "{root}", "--data", "{data}"),
        ("resolve-bundle", "--root", "{root}", "--data", "{data}", "--no-build"),
    ],
)
def test_commands_that_train_nothing_import_no_pytorch(
    words: tuple[str, ...], tmp_path: Path, bundle_path: Path, image_folder: Path
) -> None:
    """PyTorch, torchvision and matplotlib take seconds to import."""
    made = linked_copy(bundle_path, tmp_path / "bundles" / "made")
    update_current_link(tmp_path / "bundles" / "current", made)
    own = linked_copy(bundle_path, tmp_path / "bundles" / key_of(image_folder))
    write_source(bundle.load(own), scan(image_folder))
    arguments = [word.format(root=tmp_path, data=image_folder) for word in words]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1].split() == ["imported:"]
    if "{data}" in words:
        assert done.stdout.splitlines()[0] == str(own)


def test_no_build_exits_with_1_if_there_is_work_to_do(command: Command, image_folder: Path) -> None:
    done = command("resolve-bundle", "--data", image_folder, "--no-build")
    assert (done.code, done.out) == (1, "")
    assert not command.root.exists()
