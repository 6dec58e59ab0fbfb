"""A run from the first step to an engine that the run-time package opens, on drawn scenes, in real processes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.swa_utils import AveragedModel

from hybridnet_ros.engine import load_manifest, open_engine
from training import evaluate, export, parity, train
from training import trainer as trainer_module
from training.config import ConfigError
from training.evaluate import load_weights
from training.networks.depthwise import depthwise_in_float32
from training.run_folder import RunFolder
from training.schedule import learning_rate_factor, moving_average

from .conftest import draw_scene, small_config

# Every operator that the shipped graph may use; all are in the ONNX parser of TensorRT 8.6 and later.
TENSORRT_OPERATORS = {
    "Add", "ArgMax", "AveragePool", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "DepthToSpace",
    "Div", "Exp", "Gather", "GlobalAveragePool", "Identity", "Mul", "Pad", "Reciprocal", "ReduceMax", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "Round", "Slice", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip


def run_training(arguments: list[object]) -> None:
    assert train.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps."""
    folder = tmp_path_factory.mktemp("run")
    run_training([small_config(folder / "small.yaml"), "--data", data, "--run", folder / "run", "--device", "cpu"])
    return folder / "run"


@pytest.fixture(scope="module")
def engines(finished: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's engine."""
    output = tmp_path_factory.mktemp("engines")
    assert export.main([str(finished), "--data", str(data), "--output", str(output)]) == 0
    return output


def test_the_run_folder_says_everything(finished: Path) -> None:
    metrics = RunFolder.open(finished).metrics()
    assert [record["step"] for record in metrics] == [4]
    assert set(metrics[0]) == {"step", "labels", "depth"}
    assert {"commit", "torch", "python"} <= set(json.loads((finished / "environment.json").read_text()))
    assert (finished / "config.yaml").is_file()
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert {"validation/mean_iou", "validation/abs_rel"} <= set(events.Tags()["scalars"])
    (picture,) = events.Images("validation/image_depth_labels")
    assert picture.step == 4 and picture.width > 1000


def test_the_engines_file_holds_its_weights_packed(engines: Path) -> None:
    (path,) = engines.glob("*.onnx")
    weights = [tensor for tensor in onnx.load(path).graph.initializer if np.prod(tensor.dims) >= 2048]
    large = {tensor.data_type for tensor in weights if np.prod(tensor.dims) >= 65536}
    assert large == {onnx.TensorProto.INT8}
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16}


def test_a_run_is_not_overwritten(finished: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [finished / "config.yaml", "--data", data, "--run", finished]
    assert train.main([str(argument) for argument in arguments]) == 1
    assert "already holds a run: continue it with --resume" in capsys.readouterr().err


def test_wrong_data_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path / "small.yaml")
    assert train.main([str(config), "--data", str(tmp_path), "--run", str(tmp_path / "run")]) == 1
    assert "is the data folder given with --data the right one?" in capsys.readouterr().err


def test_stopping_by_signal_and_resuming_gives_the_same_weights(finished: Path, data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "small.yaml")
    command = [sys.executable, "-m", "training.train", "--data", data, "--run", tmp_path / "run", "--device", "cpu"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen([*command, config], cwd=root, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # The bar is drawn once everything is set up; the first steps follow.
    while "0/4" not in process.stderr.read(1) + process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 0
    stopped_at = RunFolder.open(tmp_path / "run").load_state()["step"]
    assert 1 <= stopped_at <= 4
    if stopped_at < 4:
        assert subprocess.run([*command, "--resume"], cwd=root, capture_output=True).returncode == 0
    resumed = RunFolder.open(tmp_path / "run").load_state()
    whole = RunFolder.open(finished).load_state()
    assert resumed["step"] == whole["step"] == 4
    for part in ("network", "average"):
        for name, value in whole[part].items():
            assert torch.equal(resumed[part][name], value), name


def test_a_run_can_start_from_the_weights_of_another(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, weights = small_config(tmp_path / "small.yaml", steps=1), finished / "best.safetensors"
    trainer = train.Trainer(RunFolder.create(tmp_path / "a", config, init=weights), data, torch.device("cpu"))
    trainer.start_from(weights)
    expected = RunFolder.open(finished).load_best().state_dict()
    for state in (trainer.network.state_dict(), trainer.average.module.state_dict()):
        assert all(torch.equal(value, expected[name]) for name, value in state.items())
    trainer.start_from(finished / "last.safetensors")
    expected = load_weights(RunFolder.open(finished), "average")[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trainer.network.state_dict().items())
    environment = RunFolder.open(tmp_path / "a").environment()
    assert environment["init"] == str(weights)
    assert environment["init_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    arguments = [config, "--data", data, "--run", tmp_path / "b", "--init", tmp_path / "none.safetensors"]
    assert train.main([str(argument) for argument in arguments]) == 1
    assert "cannot start from" in capsys.readouterr().err


def test_blocks_that_do_not_learn_stay_as_they_were(finished: Path, data: Path, tmp_path: Path) -> None:
    config, run = (
        small_config(tmp_path / "small.yaml", steps=2, learn=["upsampling"], weight_decay=0.5),
        tmp_path / "run",
    )
    run_training([config, "--data", data, "--run", run, "--init", finished / "best.safetensors", "--device", "cpu"])
    before, after = RunFolder.open(finished).load_best().state_dict(), RunFolder.open(run).load_state()
    for state in (after["network"], {k.removeprefix("module."): v for k, v in after["average"].items()}):
        changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(state[name], value)}
        assert changed == {"upsampling"}


def test_a_block_to_learn_that_the_network_lacks_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path / "small.yaml", learn=["upsampling", "global_depth"])
    arguments = [config, "--data", data, "--run", tmp_path / "run", "--set", "network.global_depth=null"]
    assert train.main([str(argument) for argument in arguments]) == 1
    assert "optimiser.learn: the network has no global_depth, it has features" in capsys.readouterr().err
    assert train.main([*map(str, arguments), "--set", "optimiser.learn=[]"]) == 1
    assert "optimiser.learn" in capsys.readouterr().err


def test_a_favoured_class_is_one_of_the_label_set(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [small_config(tmp_path / "small.yaml"), "--data", data, "--run", tmp_path / "run"]
    assert train.main([*map(str, arguments), "--set", "engine.favour={lamp post: 1}"]) == 1
    assert "engine.favour: there is no class 'lamp post' in cityscapes19, there is road," in capsys.readouterr().err


def test_a_loss_that_is_not_finite_names_the_images(data: Path, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", small_config(tmp_path / "small.yaml"))
    trainer = train.Trainer(run, data, torch.device("cpu"))
    with torch.no_grad():
        trainer.network.upsampling.classify.bias.fill_(torch.inf)
    with pytest.raises(train.NonFiniteLossError, match=r"at step 0, on .*\.jpg, .*\.jpg"):
        trainer.train_step(next(iter(trainer.batches())))


def test_training_learns(data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "small.yaml", steps=30, batch=4, lr=3e-3, backbone_lr=3e-3)
    trainer = train.Trainer(RunFolder.create(tmp_path / "run", config), data, torch.device("cpu"))
    totals = [trainer.train_step(batch)["total"].item() for batch in trainer.batches()]
    assert np.mean(totals[-5:]) < 0.6 * np.mean(totals[:3])


@pytest.mark.parametrize("decay", ["poly", "cosine"])
def test_learning_rate_warms_up_and_decays_to_nothing(finished: Path, decay: str) -> None:
    changes = {"steps": 100, "warmup": 10, "decay": decay}
    optimiser = RunFolder.open(finished).config.optimiser.model_copy(update=changes)
    factors = [learning_rate_factor(step, optimiser) for step in range(101)]
    assert factors[0] == pytest.approx(0.1) and max(factors) == factors[9] and factors[100] == 0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[50] == pytest.approx(0.5 if decay == "cosine" else 0.5**0.9)


def test_the_average_of_a_short_run_has_left_its_start() -> None:
    weight = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(weight, multi_avg_fn=moving_average(0.998))
    for step in range(500):
        torch.nn.init.constant_(weight.weight, 1.0 if step < 100 else 0.0)
        average.update_parameters(weight)
    assert 0.0 < average.module.weight.item() < 1e-5
    torch.nn.init.constant_(weight.weight, 1.0)
    average.n_averaged.fill_(100_000)
    before = average.module.weight.item()
    average.update_parameters(weight)
    assert average.module.weight.item() - before == pytest.approx(0.002, rel=1e-3)


def test_all_steps_from_a_given_one_count_alike_in_the_average() -> None:
    weight = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(weight, multi_avg_fn=moving_average(0.998, equal_from=20))
    for step in range(60):
        torch.nn.init.constant_(weight.weight, float(step))
        average.update_parameters(weight)
    assert average.module.weight.item() == pytest.approx(np.mean(range(20, 60)), rel=1e-5)


def test_accumulated_gradients_are_those_of_the_larger_batch(data: Path, tmp_path: Path) -> None:
    """The driving recipe's data, of which some have labels or depth only; a network that takes images one by one."""
    blocks = (
        "{features: deeplab_vgg16, global_depth: null, refining_depth: depthnet, upsampling: deeplab_aspp, width: 0.05}"
    )
    found = []
    for batch, accumulate in ((4, 1), (1, 4)):
        config = small_config(tmp_path / "small.yaml", batch=batch, accumulate=accumulate)
        run = RunFolder.create(tmp_path / f"{batch}", config, [f"network={blocks}"])
        trainer = train.Trainer(run, data, torch.device("cpu"))
        for layer in trainer.network.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        parts = trainer.train_step(next(trainer.batches()))
        found.append((parts, [parameter.grad for parameter in trainer.network.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-6)


def test_the_exported_engine_opens_and_carries_its_figures(engines: Path, data: Path) -> None:
    with open_engine(engines / "hybridnet_driving.onnx", runtime="onnx_cpu") as engine:
        manifest = engine.manifest
        assert manifest.labels.names[13] == "car" and manifest.beyond == ("sky",)
        assert {figure.metric for figure in manifest.accuracy} >= {"mean_iou", "abs_rel"}
        assert manifest.parity.images == 4
        assert manifest.parity.tolerances == parity.PACKED_TOLERANCES
        assert all(manifest.parity.measured[key] <= manifest.parity.tolerances[key] for key in parity.PACKED_TOLERANCES)
        # Another size and a batch of three than it was traced with.
        prediction = engine.predict(np.stack([draw_scene(60, 200, seed)[0] for seed in range(3)]), fx=100.0)
        assert prediction.depth.shape == prediction.labels.shape == (3, 60, 200)
        assert np.isfinite(prediction.depth).all()
    card = (engines / "hybridnet_driving.md").read_text()
    assert "## Accuracy" in card and "## Training data" in card and "## Limits" in card
    assert manifest.onnx_sha256[:16] in card
    assert "![" in card and cv2.imread(str(engines / "hybridnet_driving.jpg")).shape[1] > 1000
    # The worst image of each task, and of the one source without depth the frame that it is least sure of.
    assert "3. labels_only, a source of training labels: least sure" in card and "\n4. " not in card
    assert cv2.imread(str(engines / "hybridnet_driving_failures.jpg")).shape[1] > 1000


def test_an_engine_reports_on_other_data_and_of_other_weights_where_the_run_says_so(
    finished: Path, engines: Path, data: Path, tmp_path: Path
) -> None:
    run, found = tmp_path / "run", {}
    shutil.copytree(finished, run)
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["reported"] = {
        "labels": {"kind": "camvid", "path": "camvid", "about": "kept for the end"},
        "depth": {"kind": "kitti", "path": "kitti", "about": "kept for the end, too", "cap": 4},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    for name in ("best.safetensors", "metrics.jsonl"):  # as if it had been stopped before its first validation
        (run / name).unlink()
    for weights in ("average", "last"):
        output = tmp_path / weights
        assert export.main([str(run), "--data", str(data), "--output", str(output), "--weights", weights]) == 0
        found[weights] = load_manifest(output / "hybridnet_driving.json")
        assert found[weights].training.details["weights"] == weights and found[weights].training.steps == 4
    best = load_manifest(engines / "hybridnet_driving.json")
    # Of a run's only validation, after the last step, the best weights are the averaged ones of the last step.
    assert found["average"].onnx_sha256 == best.onnx_sha256 != found["last"].onnx_sha256
    card = (tmp_path / "last" / "hybridnet_driving.md").read_text()
    assert "Labels, kept for the end" in card and "kept for the end, too, up to 4 m" in card and "not averaged" in card
    about = {figure.metric: figure.dataset for figure in found["average"].accuracy}
    assert about["mean_iou"].startswith("kept for the end (") and about["abs_rel"].startswith("kept for the end, too")
    assert {f.metric: f.value for f in best.accuracy}["abs_rel"] != {
        f.metric: f.value for f in found["average"].accuracy
    }["abs_rel"]


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_cpus_keep_depthwise_convolutions_in_float32_and_all_of_it_where_they_lack_bfloat16(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr(trainer_module, "computes_bfloat16", lambda device: has_bfloat16)
    run = RunFolder.create(tmp_path / "run", small_config(tmp_path / "small.yaml", amp=True))
    trainer = train.Trainer(run, data, torch.device("cpu"))
    kinds = {type(layer) for layer in trainer.network.modules() if getattr(layer, "groups", 1) > 1}
    assert ({kind.__module__ for kind in kinds} == {depthwise_in_float32.__module__}) is has_bfloat16
    dtypes = set()
    trainer.network.features.register_forward_hook(lambda block, images, maps: dtypes.update(one.dtype for one in maps))
    assert torch.isfinite(trainer.train_step(next(trainer.batches()))["total"])
    assert (torch.bfloat16 in dtypes) is has_bfloat16


def test_the_exported_graph_keeps_to_what_tensorrt_takes(engines: Path) -> None:
    model = onnx.load(engines / "hybridnet_driving.onnx")
    assert model.opset_import[0].version == 17
    assert {node.op_type for node in model.graph.node} <= TENSORRT_OPERATORS
    takes_image = [node.op_type for node in model.graph.node if "image" in node.input]
    assert takes_image == ["Cast"], "TensorRT 8.6 takes uint8 at the input only, and only into a Cast"
    producer = {output: node for node in model.graph.node for output in node.output}
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] in ("labels", "confidence")]
    assert len(casts) == 2, "uint8 only as the very last step"
    for cast in casts:
        assert producer[cast.input[0]].op_type != "ArgMax", "TensorRT 8.6 casts to uint8 from floating point only"
    for resize in (node for node in model.graph.node if node.op_type == "Resize"):
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in resize.attribute}
        assert not attributes.get("antialias"), resize.name
        assert resize.input[2] and not (len(resize.input) > 3 and resize.input[3]), "constant scales, no sizes"


def test_an_engine_that_differs_is_refused(
    finished: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder.open(finished)
    reference = run.load_best()
    damaged = run.load_best()
    with torch.no_grad():
        damaged.refining_depth.predict.bias.add_(0.1)
    samples = export.validation_samples(run.config, data, 12)
    with pytest.raises(parity.ParityError, match="depth_abs_rel is 0.1"):
        parity.compare(
            evaluate.torch_engine(reference, run.config),
            evaluate.torch_engine(damaged, run.config),
            samples,
            ("depth", "labels"),
            parity.TOLERANCES,
        )
    # And a refusal writes nothing, whether the network as exported or the file with packed weights differs.
    for tolerances in (parity.TOLERANCES, parity.PACKED_TOLERANCES):
        with monkeypatch.context() as patch:
            patch.setitem(tolerances, "depth_abs_rel", -1.0)
            assert export.main([str(finished), "--data", str(data), "--output", str(tmp_path / "engines")]) == 1
        assert "differs from what it was made of" in capsys.readouterr().err
        assert not (tmp_path / "engines").exists()


def test_an_engine_without_words_for_its_card_is_refused_before_it_is_measured(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training([small_config(tmp_path / "small.yaml", steps=1), "--set", "engine.name=mine", "--data", data,
                  "--run", tmp_path / "run", "--device", "cpu"])  # fmt: skip
    assert "note: the features start from chance" in capsys.readouterr().out
    monkeypatch.setattr(export, "evaluate", lambda *_: pytest.fail("measured"))
    assert export.main([str(tmp_path / "run"), "--data", str(data), "--output", str(tmp_path / "engines")]) == 1
    assert "mine.card.md: write there what the network is for" in capsys.readouterr().err


def test_evaluating_run_and_engine_gives_the_same_figures(
    finished: Path, engines: Path, data: Path, tmp_path: Path
) -> None:
    config = finished / "config.yaml"
    figures = []
    for engine in (finished, engines / "hybridnet_driving.onnx"):
        output = tmp_path / "figures.json"
        arguments = [engine, "--data", data, "--config", config, "--output", output]
        assert evaluate.main([str(argument) for argument in arguments]) == 0
        figures.append(json.loads(output.read_text()))
    for dataset, metric in (("labels", "mean_iou"), ("depth", "pooled")):
        if metric == "pooled":
            assert figures[0][dataset][metric]["abs_rel"] == pytest.approx(
                figures[1][dataset][metric]["abs_rel"], rel=1e-3
            )
        else:
            assert figures[0][dataset][metric] == pytest.approx(figures[1][dataset][metric], abs=1e-3)


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.yaml").write_text(small_config(tmp_path / "small.yaml").read_text())
    with pytest.raises(ConfigError, match="no checkpoint to resume from"):
        RunFolder.open(tmp_path).load_state()
    with pytest.raises(ConfigError, match="has not been validated yet"):
        RunFolder.open(tmp_path).load_best()


def test_learnt_task_weights_are_trained_and_resumed(data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "small.yaml", steps=2)
    run = RunFolder.create(tmp_path / "run", config, ["loss.uncertainty=true"])
    trainer = train.Trainer(run, data, torch.device("cpu"))
    for batch in trainer.batches():
        trainer.train_step(batch)
        trainer.step += 1
    learnt = trainer.objective.state_dict()["log_variance"]
    assert (learnt != 0).all()
    trainer.save()
    resumed = train.Trainer(run, data, torch.device("cpu"))
    resumed.resume()
    assert torch.equal(resumed.objective.state_dict()["log_variance"], learnt)
    # They weigh the training and are no part of the network that it makes.
    run.save_best(trainer.network)
    assert not [name for name in run.load_best().state_dict() if "variance" in name]


def test_a_variant_is_set_on_the_command_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [small_config(tmp_path / "small.yaml"), "--data", data, "--run", tmp_path / "run", "--device", "cpu"]
    changes = ["--set", "optimiser.steps=1", "--set", "seed=5"]
    assert train.main([*map(str, arguments), *changes]) == 0
    run = RunFolder.open(tmp_path / "run")
    assert (run.config.seed, run.load_state()["step"]) == (5, 1)
    assert run.environment()["changes"] == ["optimiser.steps=1", "seed=5"]
    assert train.main([*map(str, arguments), "--set", "optimizer.steps=1"]) == 1
    assert "optimizer: there is no such key; is optimiser meant?" in capsys.readouterr().err
