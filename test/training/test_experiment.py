"""An experiment is trained where it was left, scored and written up; the committed pages are what their files make."""

import shutil
from pathlib import Path

import cv2
import pytest
import torch
import yaml

from training import experiment, train
from training.config import ConfigError
from training.evaluation import Evaluation
from training.run_folder import RunFolder

from .rooms import room_config, write_rooms

EXPERIMENTS = sorted((Path(__file__).parents[2] / "training" / "experiments").iterdir())
PAGE = """\
# Rooms, seeds {{ experiment.seeds | join(", ") }}

{{ about }}

{{ tables["Labels"] }}

IoU class of both tasks: {{ "%.4f" % row["both"].mean("labels", "mean_iou") if row["both"].evaluations else "--" }}

![]({{ figure }})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An experiment of two variants and two seeds, of two steps each."""
    write_rooms(tmp_path / "data" / "rooms", 4)
    path = tmp_path / "experiment"
    path.mkdir()
    room_config(tmp_path / "rooms.yaml", steps=2, batch=4)
    described = {
        "recipe": "../rooms.yaml",
        "seeds": [1, 2],
        "changes": [
            "network=hybridnet_vgg16",
            "network.initial_depth=4",
            "network.width=0.05",
            "schedule.checkpoint=1",
        ],
        "variants": {
            "both": [],
            "labels_only": ["network.global_depth=null", "network.refining_depth=null"],
        },
    }
    (path / "experiment.yaml").write_text(yaml.safe_dump(described))
    (path / "page.md.j2").write_text(PAGE)
    return path


def run_experiment(folder: Path, *words: object) -> int:
    places = ["--data", folder.parent / "data", "--runs", folder.parent / "runs", "--device", "cpu"]
    return experiment.main([str(word) for word in (folder, *places, *words)])


def test_what_is_missing_is_trained_and_the_page_says_what_there_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = folder.parent / "runs"
    assert run_experiment(folder, "--train") == 0, "nothing yet"
    assert "| -- |" in (folder / "README.md").read_text() and not runs.exists()

    assert run_experiment(folder, "--train", "labels_only_1") == 0
    page = (folder / "README.md").read_text()
    assert "| labels_only | deeplab_vgg16 | 1 of 2 |" in page
    assert "| both | deeplab_vgg16 | 0 of 2 | -- | -- | -- |" in page and "IoU class of both tasks: --" in page
    assert [path.name for path in runs.iterdir()] == ["labels_only_1"]

    # A run that was stopped goes on where it was, and one that is finished is left alone.
    _, described = experiment.read_experiment(folder)
    both = next(run for run in described if run.name == "both_1")
    stopped = RunFolder.create(runs / "both_1", both.recipe, both.changes)
    trainer = train.Trainer(stopped, folder.parent / "data", torch.device("cpu"))
    trainer.stopping = True
    trainer.train()
    assert stopped.load_state()["step"] == 1 and not both.finished(stopped.path)
    finished = (runs / "labels_only_1" / "last.safetensors").stat().st_mtime_ns
    assert run_experiment(folder) == 0
    assert stopped.environment()["resumed"][0]["step"] == 1
    assert (runs / "labels_only_1" / "last.safetensors").stat().st_mtime_ns == finished
    page = (folder / "README.md").read_text()
    assert "| both | deeplab_vgg16 | 2 |" in page and "| -- |" not in page
    iou = [Evaluation.load(folder / "runs" / f"both_{seed}.json").value("labels", "mean_iou") for seed in (1, 2)]
    assert f"IoU class of both tasks: {sum(iou) / 2:.4f}" in page
    assert (folder / "figure.png").is_file() and "![](figure.png)" in page

    # Without data and runs the page is made anew from what is kept, and is the same.
    (folder / "README.md").unlink()
    assert experiment.main([str(folder)]) == 0
    assert (folder / "README.md").read_text() == page

    # The figure shows the variants that it is told to.
    whole = cv2.imread(str(folder / "figure.png")).shape
    described = yaml.safe_load((folder / "experiment.yaml").read_text()) | {"drawn": ["both"]}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(described))
    assert run_experiment(folder) == 0
    assert cv2.imread(str(folder / "figure.png")).shape != whole

    # Another recipe makes other runs: what is there is not taken for them.
    described = yaml.safe_load((folder / "experiment.yaml").read_text())
    described["changes"].append("optimiser.lr=0.5")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(described))
    for arguments in ([], ["--data", str(folder.parent / "data"), "--runs", str(runs)]):
        assert experiment.main([str(folder), *arguments]) == 1
        assert "is another run than both_1: optimiser.lr differ" in capsys.readouterr().err


def test_a_wrong_experiment_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_experiment(folder, "--train", "both_7") == 1
    assert "there is no run both_7" in capsys.readouterr().err
    (folder / "page.md.j2").write_text("{{ nothing }}")
    assert run_experiment(folder, "--train") == 1
    assert "page.md.j2 makes no page: 'nothing' is undefined" in capsys.readouterr().err
    described = yaml.safe_load((folder / "experiment.yaml").read_text()) | {"drawn": ["both", "neither"]}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(described))
    assert run_experiment(folder) == 1
    assert "drawn: there is no variant neither" in capsys.readouterr().err
    (folder / "experiment.yaml").write_text("recipe: x\nseed: [1]\n")
    assert run_experiment(folder) == 1
    assert "seeds" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="describes no experiment"):
        experiment.read_experiment(tmp_path)


@pytest.mark.parametrize("committed", EXPERIMENTS, ids=lambda path: path.name)
def test_committed_pages_are_what_their_evaluations_make(committed: Path, tmp_path: Path) -> None:
    # Beside the recipes, as experiment.yaml names its own by where it is.
    copy = tmp_path / "training" / "experiments" / committed.name
    shutil.copytree(committed, copy)
    shutil.copytree(committed.parents[1] / "configs", tmp_path / "training" / "configs")
    for name in ("README.md", "comparison.json"):
        (copy / name).unlink()
    assert experiment.main([str(copy)]) == 0
    for name in ("README.md", "comparison.json"):
        assert (copy / name).read_text() == (committed / name).read_text(), name
    assert (copy / "figure.png").stat().st_size < 400_000
