"""One command makes an engine from its recipe, goes on where it was stopped, and refuses early what cannot end well."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml

from hybridnet_ros.engine import load_manifest, open_engine
from training import imagenet, make, quantize
from training.networks import _timm as timm
from training.networks.weights import imagenet_file
from training.run_folder import RunFolder

from .conftest import small_config
from .processes import finish, start, wait_until


def labels_only_truth(recipe: Path) -> Path:
    """The recipe without truth of depth: nothing tells what 8 bits would cost, so none are made."""
    values = yaml.safe_load(recipe.read_text())
    del values["validation"]["depth"]
    recipe.write_text(yaml.safe_dump(values))
    return recipe


def words(recipe: Path, data: Path, folder: Path, *more: str) -> list[str]:
    places = ["--data", str(data), "--run", str(folder / "run"), "--output", str(folder / "engines")]
    return [str(recipe), *places, "--device", "cpu", *more]


def test_a_recipe_becomes_an_engine_and_one_in_8_bits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four steps on drawn scenes make no network of which it would be known what it loses.
    monkeypatch.setattr(quantize, "IMAGES", 4)
    monkeypatch.setattr(quantize, "LIMITS", {"mean_iou": 1.0, "abs_rel": 1e9})
    monkeypatch.setattr(quantize, "PARITY_TOLERANCES", dict.fromkeys(quantize.PARITY_TOLERANCES, 1e9))
    recipe = small_config(tmp_path / "small.yaml")
    assert make.main(words(recipe, data, tmp_path, "--set", "seed=3")) == 0
    for name, precision in (("hybridnet_driving", "float32"), ("hybridnet_driving_int8", "int8")):
        manifest = load_manifest(tmp_path / "engines" / f"{name}.json")
        assert manifest.precision == precision
        assert (manifest.training.seed, manifest.training.steps) == (3, 4)
        assert manifest.training.details["weights"] == "average", "as the recipe's engine.weights has it"
        with open_engine(tmp_path / "engines" / f"{name}.onnx", "onnx_cpu"):
            pass


def test_ctrl_c_and_the_same_command_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = labels_only_truth(small_config(tmp_path / "small.yaml", steps=60))
    process = start(sys.executable, "-m", "training.make", *words(recipe, data, tmp_path))
    wait_until((tmp_path / "run" / "last.safetensors").exists, process)
    process.send_signal(signal.SIGINT)
    said = finish(process)
    assert process.returncode == 1 and "the same command goes on" in said
    stopped_at = RunFolder.open(tmp_path / "run").load_state()["step"]
    assert 0 < stopped_at < 60
    assert not (tmp_path / "engines").exists()

    handler = signal.getsignal(signal.SIGINT)
    assert make.main(words(recipe, data, tmp_path)) == 0, capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C ends what comes after training, too"
    assert [each["step"] for each in RunFolder.open(tmp_path / "run").environment()["resumed"]] == [stopped_at]
    (engine,) = (tmp_path / "engines").glob("*.onnx")
    first = engine.read_bytes()

    weights = tmp_path / "run" / "last.safetensors"
    before = weights.stat().st_mtime_ns
    engine.unlink()
    assert make.main(words(recipe, data, tmp_path)) == 0
    assert weights.stat().st_mtime_ns == before, "a run that is done is not trained again"
    assert engine.read_bytes() == first


def test_a_run_of_another_recipe_is_not_taken(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = labels_only_truth(small_config(tmp_path / "small.yaml"))
    assert make.main(words(recipe, data, tmp_path)) == 0
    assert make.main(words(recipe, data, tmp_path, "--set", "optimiser.lr=0.1")) == 1
    assert "run is another run than driving: optimiser.lr differ" in capsys.readouterr().err


def test_what_the_card_lacks_is_said_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_config(tmp_path / "small.yaml")
    assert make.main(words(recipe, data, tmp_path, "--set", "engine.name=mine")) == 1
    assert "mine.card.md" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_that_the_data_folder_lacks_are_fetched_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for source in data.iterdir():
        (folder / source.name).symlink_to(source)
    asked = []

    def published(backbone: str, path: Path | None) -> dict[str, torch.Tensor]:
        asked.append((backbone, path))
        return {name: value.contiguous() for name, value in timm.create_model(backbone).state_dict().items()}

    monkeypatch.setattr(imagenet, "imagenet_weights", published)
    recipe = labels_only_truth(small_config(tmp_path / "small.yaml"))
    theirs = f"network.weights=weights/{imagenet_file('tf_efficientnet_lite0')}"
    assert make.main(words(recipe, folder, tmp_path, "--set", theirs)) == 0
    assert asked == [("tf_efficientnet_lite0", None)]
    assert make.main(words(recipe, folder, tmp_path, "--set", theirs)) == 0
    assert len(asked) == 1

    own = words(recipe, folder, tmp_path / "own", "--set", "network.weights=weights/own.safetensors")
    assert make.main(own) == 1
    said = capsys.readouterr().err
    assert "own.safetensors" in said and len(asked) == 1
    assert "the same command" not in said, "it would fail the same way"
