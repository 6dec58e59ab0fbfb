"""Evaluation: whole images and tiles, both tasks, the official evaluator's figures, and what a network costs."""

import json
from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official

from hybridnet_ros.benchmark.floor import cost
from hybridnet_ros.engine import load_manifest, open_engine
from hybridnet_ros.engine.engine import Engine, shipped_engines
from tiny import TINY_FX, write_tiny_engine
from training import evaluate
from training.command import config_of_engine
from training.config import (
    NETWORKS,
    ConfigError,
    DepthTruthConfig,
    NetworkConfig,
    TruthConfig,
    ValidationConfig,
    load_config,
)
from training.cost import IMAGES, count_macs, measure_costs
from training.data.cityscapes import Cityscapes
from training.evaluation import Evaluation
from training.networks import EngineGraph, build_network
from training.onnx_file import write_onnx
from training.run_folder import RunFolder
from training.tiles import PAPER, WHOLE, Grid, predict, read_grid

from .conftest import small_config, write_png
from .layouts import HEIGHT, WIDTH, cityscapes_ids, write_cityscapes, write_folder

PLACE = {"kind": "cityscapes", "path": "cityscapes", "split": "val", "about": "drawn"}
BOTH = ValidationConfig(labels=TruthConfig(**PLACE), depth=DepthTruthConfig(**PLACE, cap=20))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_cityscapes(root / "cityscapes", "val", count=3)
    write_folder(root / "folder")
    return root


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was validated once, with weights from chance."""
    folder = tmp_path_factory.mktemp("run")
    values = yaml.safe_load(small_config(folder / "small.yaml").read_text())
    values["validation"] = BOTH.model_dump(mode="json")
    (folder / "small.yaml").write_text(yaml.safe_dump(values))
    run = RunFolder.create(folder / "chance_1", folder / "small.yaml")
    torch.manual_seed(1)
    network = build_network(run.config.network, 19, run.config.data.crop)
    torch.nn.init.normal_(network.upsampling.classify.weight, std=3.0)
    run.save_best(network)
    run.append_metrics({"step": 4, **evaluate.evaluate(evaluate.torch_engine(network, run.config), data, BOTH)})
    return run


@pytest.fixture(scope="module")
def engine(run: RunFolder) -> Engine:
    return evaluate.torch_engine(run.load_best(), run.config)


def test_eighteen_tiles_are_each_seen_alone_and_put_back_in_their_places(tmp_path: Path) -> None:
    brightness = np.arange(18, dtype=np.uint8).reshape(3, 6) * 14
    image = np.repeat(np.kron(brightness, np.ones((32, 32), np.uint8))[..., np.newaxis], 3, axis=2)
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as tiny:
        seen = predict(tiny, image, TINY_FX, PAPER)
        first = tiny.predict(image[np.newaxis, :32, :32], TINY_FX)
    assert seen.depth.shape == seen.labels.shape == seen.confidence.shape == (1, 96, 192)
    # Off the tiles' edges, where the network's 3x3 mean sees zeros.
    middles = np.arange(16, 96, 32)[:, np.newaxis], np.arange(16, 192, 32)
    np.testing.assert_allclose(seen.depth[0][middles], 1 + 99 * (brightness / 255), rtol=1e-5)
    np.testing.assert_array_equal(seen.labels[0][middles], np.digitize(brightness / 255, [1 / 3, 2 / 3]))
    np.testing.assert_array_equal(seen.depth[0, :32, :32], first.depth[0])


@pytest.mark.parametrize("size", [(50, 131), (3, 7), (1, 1), (64, 128)])
def test_tiles_cover_images_that_the_grid_does_not_divide(tmp_path: Path, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    with open_engine(write_tiny_engine(tmp_path), "onnx_cpu") as tiny:
        seen = predict(tiny, image, TINY_FX, Grid(6, 3))
    assert seen.depth.shape == (1, *size)
    # Black is 1 m, times the same focal length in every tile.
    assert np.ptp(seen.depth) == 0 < seen.depth.min() and (seen.labels == 0).all() and (seen.confidence > 0).all()


@pytest.mark.parametrize("text", ["6", "0x3", "6x", "x3", "-6x3", "6x3x2", "six"])
def test_what_is_no_grid_is_refused(text: str) -> None:
    assert read_grid("6x3") == PAPER and read_grid("1x1") == WHOLE
    with pytest.raises(ArgumentTypeError, match="write COLUMNSxROWS, e.g. 6x3"):
        read_grid(text)


@pytest.mark.parametrize("grid", [WHOLE, PAPER])
def test_figures_are_the_official_evaluators_on_the_same_files(
    data: Path, engine: Engine, tmp_path: Path, grid: Grid
) -> None:
    figures = evaluate.evaluate(engine, data, replace_depth(None), grid)["labels"]
    predictions, truths = [], []
    samples = Cityscapes(data / "cityscapes", "val")
    for sample in (samples[index] for index in range(len(samples))):
        stem = Path(sample.name).name.replace("_leftImg8bit.png", "")
        path = tmp_path / f"{stem}_pred.png"
        write_png(path, cityscapes_ids(predict(engine, sample.image, sample.fx, grid).labels[0]))
        predictions.append(str(path))
        truths.append(str(data / "cityscapes" / "gtFine" / "val" / "ulm" / f"{stem}_gtFine_labelIds.png"))
    official.args.quiet, official.args.JSONOutput, official.args.evalInstLevelScore = True, False, False
    results = official.evaluateImgLists(predictions, truths, official.args)
    present = {name: iou for name, iou in figures["iou"].items() if iou is not None}
    assert set(present) == {"road", "sky", "car"} and 0 < figures["global_accuracy"] < 1
    assert present == {name: results["classScores"][name] for name in present}


def replace_depth(depth: DepthTruthConfig | None) -> ValidationConfig:
    return BOTH.model_copy(update={"depth": depth})


def test_one_look_at_the_images_gives_what_two_looks_give(data: Path, engine: Engine) -> None:
    together = evaluate.evaluate(engine, data, BOTH)
    labels = evaluate.evaluate(engine, data, replace_depth(None))
    depth = evaluate.evaluate(engine, data, BOTH.model_copy(update={"labels": None}))
    assert together == {**labels, **depth}
    # Two datasets: each is scored on its own images.
    other = DepthTruthConfig(kind="folder", path="folder", about="drawn")
    mixed = evaluate.evaluate(engine, data, replace_depth(other))
    assert mixed["labels"] == labels["labels"]
    assert (mixed["depth"]["data"], mixed["depth"]["images"]) == ("folder", 3)
    assert (together["depth"]["data"], together["depth"]["images"]) == ("cityscapes, val", 3)


def test_depth_is_scored_to_the_configs_cap_to_80_m_and_of_any_distance(data: Path, engine: Engine) -> None:
    depth = evaluate.evaluate(engine, data, BOTH)["depth"]
    assert depth["cap_m"] == 20 and set(depth["uncapped"]["per_image"]) == set(depth["per_image"])
    samples = [Cityscapes(data / "cityscapes", "val")[index] for index in range(3)]
    truth = np.stack([sample.depth for sample in samples]).astype(np.float64)
    seen = np.concatenate([engine.predict(sample.image[np.newaxis], sample.fx).depth for sample in samples])
    counted = []
    for cap, figures in ((20, depth), (80, depth["to_80_m"]), (np.inf, depth["uncapped"])):
        valid = truth <= cap  # not where there is none, NaN
        y, predicted = truth[valid], np.minimum(seen[valid].astype(np.float64), cap)
        pooled = figures["pooled"]
        assert pooled["pixels"] == len(y)
        assert pooled["abs_rel"] == pytest.approx(np.mean(np.abs(predicted - y) / y), rel=1e-12)
        assert pooled["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - y) ** 2)), rel=1e-12)
        assert pooled["si_log"] == pytest.approx(np.std(np.log(predicted) - np.log(y)), rel=1e-9)
        counted.append(len(y))
    assert counted[0] < counted[1], "the truth reaches beyond the cap"


def test_the_command_writes_figures_tables_and_a_panel(data: Path, run: RunFolder, tmp_path: Path) -> None:
    output = tmp_path / "results" / "chance.json"
    words = [run.path, "--data", data, "--device", "cpu", "--weights", "best", "--tiles", "--output", output]
    assert evaluate.main([str(word) for word in words]) == 0
    evaluation = Evaluation.load(output)
    assert evaluation.name == "chance_1" and evaluation.run.config == run.config and evaluation.run.step == 4
    assert evaluation.tiles["grid"] == [6, 3]
    assert evaluation.value("labels", "mean_iou") != evaluation.value("tiles", "labels", "mean_iou") is not None
    assert evaluation.cost.images == IMAGES and evaluation.cost.ms > 0 and "thread" in evaluation.cost.device
    tables = output.with_suffix(".md").read_text()
    for heading in ("Labels", "Depth, over all pixels", "Depth, uncapped", "Depth, in tiles", "Cost", "IoU by class"):
        assert f"## {heading}" in tables, heading
    assert f"{100 * evaluation.value('labels', 'global_accuracy'):.2f}" in tables
    picture = cv2.imread(str(output.with_suffix(".png")))
    assert picture.shape[1] > 5 * 132 and picture.shape[0] > 3 * 66, "five columns, three images"


def test_an_evaluation_is_read_back_as_it_was(data: Path, run: RunFolder, engine: Engine, tmp_path: Path) -> None:
    evaluation = evaluate.evaluate_run(run, engine, evaluate.load_weights(run, "best")[1], data, grid=Grid(2, 1))
    evaluation = replace(evaluation, cost=measure_costs([(run.load_best(), run.config.engine)], ["chance_1"])[0])
    evaluation.save(tmp_path / "kept.json")
    assert Evaluation.load(tmp_path / "kept.json") == evaluation
    (tmp_path / "other.json").write_text(json.dumps({"name": "x"}))
    for path in (tmp_path / "other.json", tmp_path / "absent.json"):
        with pytest.raises(ConfigError, match=f"{path.name} is no evaluation"):
            Evaluation.load(path)


def test_the_last_weights_are_those_of_the_last_checkpoint(data: Path, run: RunFolder) -> None:
    network = run.load_best()
    with torch.no_grad():
        network.upsampling.classify.bias.add_(1)
    average = {f"module.{name}": 2 * value for name, value in network.state_dict().items()}
    average["n_averaged"] = torch.tensor(7)
    nothing: dict[str, object] = {"objective": {}, "optimiser": {}}
    run.save_state({"network": network.state_dict(), "average": average, "step": 7, **nothing})
    loaded, trained = evaluate.load_weights(run, "last")
    best, averaged = evaluate.load_weights(run, "best")
    assert (trained.weights, trained.step, averaged.weights, averaged.step) == ("last", 7, "best", 4)
    assert trained.sha256 != averaged.sha256 and not loaded.training
    assert torch.equal(loaded.upsampling.classify.bias, best.upsampling.classify.bias + 1)
    loaded, trained = evaluate.load_weights(run, "average")
    assert (trained.weights, trained.step) == ("average", 7) and not loaded.training
    assert torch.equal(loaded.upsampling.classify.bias, 2 * (best.upsampling.classify.bias + 1))


@pytest.mark.parametrize("name", sorted(shipped_engines()))
def test_a_shipped_engine_is_scored_as_its_own_recipe_says(name: str) -> None:
    config = config_of_engine(None, load_manifest(shipped_engines()[name].with_suffix(".json")))
    assert config.engine.name == name.removesuffix("_int8")
    manifest = load_manifest(shipped_engines()[name].with_suffix(".json"))
    assert config.claims.labels.about in manifest.accuracy[0].dataset


def test_an_engine_of_no_known_recipe_needs_a_config(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(write_tiny_engine(tmp_path)), "--data", str(data)]) == 1
    said = capsys.readouterr().err
    assert "weights set by hand, which is not here" in said and "--config" in said


def test_a_split_that_there_is_not_is_named(data: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(run.path), "--data", str(data), "--split", "test", "--device", "cpu"]) == 1
    assert "test" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["hybridnet_lite0", "hybridnet_vgg16"])
def test_macs_and_parameters_are_those_of_the_onnx_file(name: str, tmp_path: Path) -> None:
    values = yaml.safe_load((NETWORKS / f"{name}.yaml").read_text())
    network = build_network(NetworkConfig(**values, width=0.05), 5, (HEIGHT, WIDTH)).eval()
    graph = EngineGraph(network, (0.5, 20.0))
    write_onnx(graph, tmp_path / "network.onnx", (HEIGHT, WIDTH))
    expected = cost(onnx.load(tmp_path / "network.onnx"), WIDTH, HEIGHT).macs
    assert count_macs(graph, torch.zeros((1, HEIGHT, WIDTH, 3), dtype=torch.uint8)) == expected
    config = load_config(small_config(tmp_path / "small.yaml"))
    engine = config.engine.model_copy(update={"height": HEIGHT, "width": WIDTH})
    first, second = measure_costs([(network, engine), (network, engine)], ["one", "two"])
    assert first.macs == second.macs == expected and first.together == ("one", "two")
    assert first.parameters == sum(parameter.numel() for parameter in network.parameters())
