"""Opening engines: by name, by path, on a runtime, and every way in which it is refused."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import hybridnet_ros
from hybridnet_ros.engine import EngineError, ManifestError, open_engine
from tiny import tiny_manifest, tiny_network, write_tiny_engine

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def save(network: onnx.ModelProto, path: Path) -> Path:
    """Writes a network with the manifest that belongs to it."""
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    return path


def run_python(code: str, *folders: Path) -> str:
    """What a fresh interpreter prints that has only `folders` of ours on its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    result = subprocess.run([sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
@pytest.mark.parametrize("kind", [str, Path])
def test_an_engine_is_opened_by_either_of_its_files(tmp_path, suffix, kind):
    path = write_tiny_engine(tmp_path)
    with open_engine(kind(path.with_suffix(suffix)), runtime="onnx_cpu", threads=1) as engine:
        assert engine.manifest.labels.names == ("road", "car", "sky")
        assert engine.runtime == "onnx_cpu"


def test_a_renamed_engine_still_opens(tmp_path):
    path = write_tiny_engine(tmp_path)
    for suffix in (".onnx", ".json"):
        path.with_suffix(suffix).rename(tmp_path / f"renamed{suffix}")
    open_engine(tmp_path / "renamed.onnx").close()
    with pytest.raises(ManifestError, match=r"cannot read the engine .*tiny\.onnx"):
        open_engine(tmp_path / "renamed.json")


def test_a_shipped_engine_is_opened_by_name(tmp_path):
    site = tmp_path / "lib" / "python3" / "site-packages"
    engines = tmp_path / "share" / "hybridnet_ros" / "engines"
    engines.mkdir(parents=True)
    shutil.copytree(Path(hybridnet_ros.__file__).parent, site / "hybridnet_ros", ignore=shutil.ignore_patterns("*.pyc"))
    write_tiny_engine(engines, "hybridnet_tiny")
    write_tiny_engine(engines, "hybridnet_other")
    code = """
from hybridnet_ros.engine import EngineError, open_engine
print(open_engine("tiny").manifest.onnx)
try:
    open_engine("tinny")
except EngineError as error:
    print(error)
"""
    opened, refused = run_python(code, site).splitlines()
    assert opened == "hybridnet_tiny.onnx"
    assert refused.startswith("no engine is called 'tinny': choose one of other, tiny, or give the path")


def test_nothing_heavy_is_imported_before_an_engine_is_opened():
    code = """
import sys
import hybridnet_ros.engine, hybridnet_ros.resources
import hybridnet_ros.scene.camera, hybridnet_ros.scene.colors, hybridnet_ros.scene.depth
import hybridnet_ros.scene.labels, hybridnet_ros.scene.metrics, hybridnet_ros.scene.resize
print(*sorted({"onnxruntime", "onnx", "torch", "tensorrt", "rclpy"} & set(sys.modules)))
"""
    assert run_python(code, Path(hybridnet_ros.__file__).parents[1]).strip() == ""


def test_without_onnx_runtime_the_remedy_is_to_install_it(tmp_path):
    code = f"""
import sys
sys.modules["onnxruntime"] = None  # how Python marks a module that cannot be imported
from hybridnet_ros.engine import EngineError, open_engine
try:
    open_engine({str(write_tiny_engine(tmp_path))!r})
except EngineError as error:
    print(error)
"""
    answer = run_python(code, Path(hybridnet_ros.__file__).parents[1])
    assert answer.startswith("ONNX Runtime cannot be imported (") and "pip install onnxruntime" in answer


def test_one_log_line_says_what_was_chosen_and_why(tmp_path, caplog):
    path = write_tiny_engine(tmp_path)
    with caplog.at_level(logging.INFO, "hybridnet"), open_engine(path, runtime="onnx_cpu", threads=1) as engine:
        [record] = caplog.records
        assert record.getMessage() == f"engine tiny.onnx: {engine.description}"
        version = onnxruntime.__version__
        assert engine.description == f"tiny (3 classes) on ONNX Runtime {version}, CPU, 1 thread (as asked)"


def test_auto_takes_cuda_only_where_it_works(tmp_path):
    with open_engine(write_tiny_engine(tmp_path), runtime="auto", threads=2) as engine:
        if not HAS_CUDA:
            assert engine.runtime == "onnx_cpu"
            assert engine.description.endswith(
                "CPU, 2 threads (this ONNX Runtime has no CUDA); no TensorRT: no NVIDIA GPU"
            )
        else:
            assert engine.runtime == "onnx_cuda" or "CUDA did not start" in engine.description


def test_all_usable_cores_compute_when_nothing_is_said(tmp_path):
    with open_engine(write_tiny_engine(tmp_path), runtime="onnx_cpu") as engine:
        assert f"CPU, {len(os.sched_getaffinity(0))} thread" in engine.description


def test_cuda_asked_for_and_absent_is_refused_with_the_remedy(tmp_path):
    path = write_tiny_engine(tmp_path)
    try:
        assert open_engine(path, runtime="onnx_cuda").runtime == "onnx_cuda" and HAS_CUDA
    except EngineError as error:
        assert "runtime onnx_cuda: " in str(error) and "onnxruntime-gpu" in str(error) and "onnx_cpu" in str(error)


def test_an_unknown_runtime_lists_the_known_ones(tmp_path):
    with pytest.raises(
        EngineError, match="unknown runtime 'opencl': choose one of auto, tensorrt, onnx_cuda, openvino, onnx_cpu"
    ):
        open_engine(write_tiny_engine(tmp_path), runtime="opencl")


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(tmp_path, threads):
    with pytest.raises(EngineError, match=f"threads must be at least 1, got {threads}"):
        open_engine(write_tiny_engine(tmp_path), threads=threads)


@pytest.mark.parametrize("name", ["no-such-engine", "", "engines/folder"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(EngineError, match="no engine is called .*give the path of an .onnx file"):
        open_engine(name)


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_a_missing_file_is_refused(tmp_path, suffix):
    with pytest.raises(EngineError, match=f"there is no engine .*nothing{suffix}: give the path"):
        open_engine(tmp_path / f"nothing{suffix}")


def test_a_folder_named_like_an_engine_is_refused(tmp_path):
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    with pytest.raises(EngineError, match="there is no engine .*folder.onnx"):
        open_engine(folder)


def test_a_missing_manifest_is_refused(tmp_path):
    path = write_tiny_engine(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ManifestError, match=r"cannot read the manifest .*tiny\.json: No such file"):
        open_engine(path)


def test_an_onnx_that_is_not_the_manifests_is_refused(tmp_path):
    path = write_tiny_engine(tmp_path)
    onnx.save(tiny_network(work=1), str(path))
    with pytest.raises(ManifestError, match="does not match its manifest"):
        open_engine(path)


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short", "unknown operator", "future opset"])
def test_a_damaged_onnx_is_refused_with_the_loaders_reason_and_nothing_on_stderr(tmp_path, capfd, damage):
    path = write_tiny_engine(tmp_path)
    network = tiny_network()
    if damage == "unknown operator":
        network.graph.node[0].op_type = "Conjure"
    if damage == "future opset":
        network.opset_import[0].version = 999
    content = network.SerializeToString()
    path.write_bytes({"empty": b"", "garbage": b"\x07" * 500, "cut short": content[:-200]}.get(damage, content))
    data = json.loads(path.with_suffix(".json").read_text())
    data["onnx_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(data))
    with pytest.raises(EngineError, match=r"ONNX Runtime cannot load .*tiny\.onnx: .+; export it again with") as caught:
        open_engine(path, runtime="onnx_cpu")
    if damage == "unknown operator":
        assert "Conjure" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def rename_input(network):
    network.graph.input[0].name = network.graph.node[0].input[0] = "picture"


def take_float(network):
    network.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fix_size(network):
    network.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 64


def take_four_channels(network):
    network.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 4


def drop_confidence(network):
    del network.graph.output[2]


def give_wide_labels(network):
    [cast] = [node for node in network.graph.node if node.output[0] == "labels"]
    cast.attribute[0].i = TensorProto.INT64
    network.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64


def give_one_more_output(network):
    network.graph.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3, "H", "W"]))


@pytest.mark.parametrize(
    ("break_contract", "found"),
    [
        (rename_input, r"inputs are picture uint8 \[N, H, W, 3\]; expected image uint8 \[N, H, W, 3\]"),
        (take_float, r"inputs are image float \[N, H, W, 3\]"),
        (fix_size, r"inputs are image uint8 \[N, 64, W, 3\]"),
        (take_four_channels, r"inputs are image uint8 \[N, H, W, 4\]"),
        (drop_confidence, r"outputs are depth float \[N, H, W\], labels uint8 \[N, H, W\]; expected .*confidence"),
        (give_wide_labels, r"outputs are .*labels int64 \[N, H, W\]"),
        (give_one_more_output, r"outputs are .*scores float \[N, 3, H, W\]"),
    ],
)
def test_a_network_that_is_no_engine_is_refused(tmp_path, break_contract, found):
    network = tiny_network()
    break_contract(network)
    path = save(network, tmp_path / "other.onnx")
    with pytest.raises(EngineError, match=rf"other\.onnx is no HybridNet engine: its {found}"):
        open_engine(path, runtime="onnx_cpu")
