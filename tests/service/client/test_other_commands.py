"""The commands of `kindred` that belong to the service and to the training."""

from pathlib import Path

import pytest

from kindred import cli


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("train", "run", "batchnorm-4"), "no experiment 'batchnorm-4'"),
        (("train", "eval-retrieval", "--bundle", "{missing}"), "no bundle at {missing}"),
        (("serve", "--port", "0", "--bundle", "{missing}"), "no bundle at {missing}"),
        (("export", "x", "--bundle", "{missing}"), "no bundle at {missing}"),
        (("import", "x", "--bundle", "{missing}"), "no bundle at {missing}"),
    ],
    ids=lambda one: " ".join(one[:2]) if isinstance(one, tuple) else "",
)
def test_an_error_is_one_line(
    command: tuple[str, ...], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "cat [old]"
    with pytest.raises(SystemExit) as ended:
        cli.main([word.format(missing=missing) for word in command])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {reason.format(missing=missing)}")


@pytest.mark.parametrize("command", ["serve", "train"])
def test_help_has_the_name_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f"Usage: kindred {command} " in capsys.readouterr().out
