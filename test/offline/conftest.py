"""The tiny engine, and `hybridnet evaluate-bag` as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from hybridnet_ros import cli
from hybridnet_ros.offline.evaluation import FILE_NAME, Evaluation, load
from tiny import write_tiny_engine


class Outcome(NamedTuple):
    """What came of a command; `evaluation` is None where none was written."""

    code: int
    said: str
    folder: Path
    evaluation: Evaluation


@pytest.fixture(scope="session")
def tiny_engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture
def evaluate_bag(tiny_engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Runs `hybridnet evaluate-bag WORDS` in one worker, unless told otherwise."""

    def run(*words: object, output: str = "out") -> Outcome:
        folder = tmp_path / output
        command = ["evaluate-bag", *map(str, words), "--engine", str(tiny_engine), "--output", str(folder)]
        with pytest.raises(SystemExit) as ended:
            cli.main(command if "--workers" in command else [*command, "--workers", "1"])
        captured = capsys.readouterr()
        evaluation = load(folder) if (folder / FILE_NAME).is_file() else None
        return Outcome(ended.value.code, captured.out + captured.err, folder, evaluation)

    return run
