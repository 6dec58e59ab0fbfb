"""Building plans for real, with TensorRT-RTX, which needs no GPU for it; and everything that can go wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import helper

import hybridnet_ros
from hybridnet_ros.build_engine import progress_line
from hybridnet_ros.engine import plans
from hybridnet_ros.engine.build import build_plan
from hybridnet_ros.engine.builder import Recipe, build, configure, is_typed
from hybridnet_ros.engine.errors import BuildCancelled, EngineError, PlanError
from hybridnet_ros.engine.manifest import load_manifest
from hybridnet_ros.engine.plan_manifest import Profile, load_plan_manifest
from hybridnet_ros.engine.plans import find_plan
from hybridnet_ros.engine.tensorrt_module import TensorRT, load_tensorrt
from hybridnet_ros.resources import share_path
from tiny import tiny_manifest, tiny_network, write_tiny_engine

NAMES = Path(__file__).with_name("data") / "tensorrt_names"
ROOT = Path(hybridnet_ros.__file__).parents[1]
CAMERA = (96, 64)
LONG_S = 120


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(write_tiny_engine(tmp_path, work=2))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def command(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """`hybridnet build-engine` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hybridnet_ros.cli", "build-engine", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **changes}, capture_output=True, text=True, timeout=LONG_S,
    )  # fmt: skip


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs `code`, which may use `build_plan` and `say`."""
    head = "import sys, threading\nfrom pathlib import Path\nfrom hybridnet_ros.engine.build import build_plan\n"
    head += "def say(line): print(line, flush=True)\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=LONG_S)
    return out, err


def refused(engine: str, **changes: object) -> str:
    with pytest.raises(EngineError) as error:
        build_plan(**{"engine": engine, "precision": "fp16", "cameras": [CAMERA], **changes})
    return str(error.value)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_the_driving_network_is_built(cache: Path, tmp_path: Path, precision: str) -> None:
    seen: list[tuple[str, float | None]] = []
    for name in ("kitti_02.jpg", "kitti_37.jpg"):
        shutil.copy(share_path("engines", "images", name), tmp_path)
    built = build_plan(
        "driving",
        precision,
        [(1242, 375)],
        batch=2,
        progress=lambda phase, fraction: seen.append((phase, fraction)),
        calibration=tmp_path,
    )
    described, trt = built.plan.manifest, load_tensorrt(None)
    assert not built.cached and built.plan.path.read_bytes() == built.plan.data
    assert described == load_plan_manifest(built.plan.path.with_suffix(".json"))

    # What TensorRT lists, and the format of its file: "vtrt", and the version that it may be loaded with.
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in described.inputs] == [
        ("image", "UINT8", (-1, -1, -1, 3))
    ]
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in described.outputs] == [
        ("depth", "FLOAT", (-1, -1, -1)), ("labels", "UINT8", (-1, -1, -1)), ("confidence", "UINT8", (-1, -1, -1)),
    ]  # fmt: skip
    assert built.plan.data[:4] == b"vtrt"
    assert bytes(int(part) for part in trt.version.split(".")) in built.plan.data[:64]
    for tensor in (*described.inputs, *described.outputs):
        assert tensor.name.encode() in built.plan.data

    key = described.key
    assert key.onnx_sha256 == hashlib.sha256((ROOT / "engines" / "hybridnet_driving.onnx").read_bytes()).hexdigest()
    assert (key.flavour, key.version, key.compute_capability) == ("tensorrt_rtx", trt.version, "8.0+")
    assert (key.precision, key.profile.sizes, key.profile.batch) == (precision, ((736, 224),), 2)
    assert described.engine == "driving" and described.cameras == ((1242, 375),)
    # No GPU, so the plan was compared with nothing, and says so.
    assert described.gpu is None and described.parity is None
    assert described.plan_sha256 == hashlib.sha256(built.plan.data).hexdigest()
    assert files(cache) == [f"plans/hybridnet_driving-{precision}-{key.digest}{end}" for end in (".json", ".plan")]

    fractions = [fraction for _, fraction in seen if fraction is not None]
    assert len(fractions) > 20 and fractions == sorted(fractions) and 0.5 < fractions[-1] <= 1
    again = build_plan("driving", precision, [(1242, 375)], batch=2, calibration=tmp_path)
    assert again.cached and again.plan == built.plan


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_indoor_network_is_built(cache: Path, tmp_path: Path, precision: str) -> None:
    """Its depth is the mean of layers, for which it has operators that the driving network lacks."""
    shutil.copy(ROOT / "engines" / "hybridnet_indoor.jpg", tmp_path)
    described = build_plan("indoor", precision, [(640, 480)], calibration=tmp_path).plan.manifest
    assert [tensor.name for tensor in described.outputs] == ["depth", "labels", "confidence"]
    assert described.key.profile.sizes == ((384, 288),)


def test_each_precision_has_a_plan_of_its_own(cache: Path, tiny: str) -> None:
    plan = {precision: build_plan(tiny, precision, [CAMERA]).plan for precision in ("fp32", "fp16", "bf16")}
    assert len({each.path for each in plan.values()}) == 3
    manifest = load_manifest(Path(tiny).with_suffix(".json"))
    for precision, each in plan.items():
        assert find_plan(tiny, manifest, load_tensorrt(None), precision).plan == each


def test_cameras_of_one_network_size_share_a_plan(cache: Path, tiny: str) -> None:
    first = build_plan(tiny, "fp32", [(96, 64), (192, 128), (64, 64), (96, 64)])
    assert first.plan.manifest.cameras == ((96, 64), (192, 128), (64, 64))
    assert first.plan.manifest.key.profile.sizes == ((96, 64), (64, 64))
    assert build_plan(tiny, "fp32", [(96, 64), (64, 64)]).cached
    assert not build_plan(tiny, "fp32", [(64, 64)]).cached


def test_int8_is_calibrated_on_the_pictures_that_are_given(cache: Path, tiny: str, tmp_path: Path) -> None:
    shipped = build_plan(tiny, "int8", [CAMERA]).plan
    pictures = tmp_path / "my pictures"
    pictures.mkdir()
    shutil.copy(share_path("engines", "images", "kitti_02.jpg"), pictures)
    own = build_plan(tiny, "int8", [CAMERA], calibration=pictures)
    assert not own.cached and own.plan.path != shipped.path
    assert own.plan.manifest.command == f"{shipped.manifest.command} --calibration '{pictures}'"
    assert build_plan(tiny, "int8", [CAMERA], calibration=pictures).cached
    shutil.copy(share_path("engines", "images", "kitti_07.jpg"), pictures)
    assert not build_plan(tiny, "int8", [CAMERA], calibration=pictures).cached
    (pictures / "broken.png").write_bytes(b"no picture")
    assert "broken.png cannot be read as a picture" in refused(tiny, precision="int8", calibration=pictures)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_plan_is_built_again(cache: Path, tiny: str, damage: bytes | None) -> None:
    plan = build_plan(tiny, "fp32", [CAMERA]).plan
    plan.path.write_bytes(bytes(len(plan.data)) if damage is None else damage)
    again = build_plan(tiny, "fp32", [CAMERA])
    assert not again.cached and again.plan.path == plan.path
    assert build_plan(tiny, "fp32", [CAMERA]).cached and len(files(cache)) == 2


def test_what_cannot_be_asked_for_is_refused(cache: Path, tiny: str, tmp_path: Path) -> None:
    assert "choose one of fp32, fp16, bf16, int8" in refused(tiny, precision="fp8")
    assert "one image size at least" in refused(tiny, cameras=[])
    assert "no number below 1" in refused(tiny, cameras=[(0, 64)])
    assert "no number below 1" in refused(tiny, batch=0)
    assert "no engine is called 'nothing'" in refused("nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no .jpg or .png file: give a folder of camera pictures" in refused(
        tiny, precision="int8", calibration=empty
    )
    assert files(cache) == []


def test_an_operator_that_tensorrt_lacks_is_named(cache: Path, tmp_path: Path) -> None:
    network = tiny_network()
    [pool] = [node for node in network.graph.node if node.op_type == "AveragePool"]
    pool.input[0] = "strange"
    network.graph.node.insert(2, helper.make_node("Det", ["planes"], ["strange"], name="the_strange_one"))
    path = tmp_path / "strange.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    message = refused(str(path), precision="fp32")
    assert "cannot take this network; operator Det (the_strange_one)" in message
    assert "run it with the runtime onnx_cuda or onnx_cpu" in message
    assert files(cache) == []


def test_a_network_that_is_no_engine_is_refused(cache: Path, tmp_path: Path) -> None:
    network = tiny_network()
    network.graph.output[2].name = network.graph.node[9].output[0] = "certainty"
    path = tmp_path / "other.onnx"
    onnx.save(network, str(path))
    tiny_manifest(path).save(path.with_suffix(".json"))
    assert "no HybridNet engine: TensorRT finds image UINT8 with 4 axes" in refused(str(path), precision="fp32")
    path.write_bytes(b"no network")
    assert "does not match its manifest" in refused(str(path))
    assert files(cache) == []


def test_a_build_can_be_stopped_and_leaves_nothing(cache: Path) -> None:
    stop = threading.Event()

    def stop_when_building(phase: str, fraction: float | None) -> None:
        if fraction is not None:
            stop.set()

    with pytest.raises(BuildCancelled, match="nothing was kept"):
        build_plan("driving", "fp16", [(1242, 375)], progress=stop_when_building, stop=stop)
    assert files(cache) == []
    # And the next one is none the worse for it.
    assert not build_plan("driving", "fp16", [(1242, 375)]).cached


def test_ctrl_c_stops_a_build_and_leaves_nothing(cache: Path) -> None:
    code = """
stop = threading.Event()
def progress(phase, fraction):
    if fraction is not None:  # TensorRT is at work, and stays there until it is told to stop
        say("building")
        stop.wait()
try:
    build_plan("driving", "fp16", [(1242, 375)], progress=progress, stop=stop)
except KeyboardInterrupt:
    say("interrupted")
"""
    process = start(code)
    assert process.stdout is not None and process.stdout.readline() == "building\n"
    process.send_signal(signal.SIGINT)
    out, err = ended(process)
    assert out.splitlines()[-1] == "interrupted" and process.returncode == 0, err
    assert files(cache) == []


BUILD_BEHIND_A_GATE = """
def progress(phase, fraction):
    if "another process" in phase:
        say("waiting")
    elif fraction is not None:
        say("building")
        while not Path(sys.argv[2]).exists():
            threading.Event().wait(0.05)
say(f"cached {build_plan(sys.argv[1], 'fp16', [(96, 64)], progress=progress).cached}")
"""


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            return
    pytest.fail(f"the process ended without saying {line!r}: {ended(process)}")


def test_two_processes_build_the_same_plan_once(cache: Path, tiny: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = start(BUILD_BEHIND_A_GATE, tiny, str(gate))
    wait_for("building", first)
    second = start(BUILD_BEHIND_A_GATE, tiny, str(gate))
    wait_for("waiting", second)
    gate.touch()
    assert ended(first)[0].splitlines()[-1] == "cached False"
    assert ended(second)[0].splitlines()[-1] == "cached True"
    assert [Path(name).suffix for name in files(cache)] == [".json", ".plan"]


def test_a_build_that_was_killed_is_in_nobodys_way(cache: Path, tiny: str, tmp_path: Path) -> None:
    process = start(BUILD_BEHIND_A_GATE, tiny, str(tmp_path / "never"))
    wait_for("building", process)
    process.kill()
    ended(process)
    [lock] = (cache / "plans").iterdir()
    # As if it had been killed while it wrote.
    (cache / "plans" / f".{lock.stem}.12345.plan.tmp").write_bytes(b"half of it")
    assert not build_plan(tiny, "fp16", [CAMERA]).cached
    assert [Path(name).suffix for name in files(cache)] == [".json", ".plan"]


def test_a_full_disk_leaves_no_broken_cache(cache: Path, tiny: str) -> None:
    """The process may not write files as large as a plan, which ends a write in the middle as a full disk does."""
    code = """
import resource
from hybridnet_ros.engine.errors import PlanError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    build_plan("driving", "fp16", [(1242, 375)])
except PlanError as error:
    say(error)
"""
    process = start(code)
    out, err = ended(process)
    assert process.returncode == 0, err
    assert re.search(r"cannot keep the plan \(\d+ MB\) in .*: File too large; make room there", out), out
    assert "or set HYBRIDNET_CACHE" in out
    assert files(cache) == []


def test_the_command_builds_and_then_finds(cache: Path, tiny: str) -> None:
    words = (tiny, "--size", "96x64", "--size", "64x64", "--batch", "2", "--precision", "fp32")
    first = command(*words)
    assert first.returncode == 0, first.stderr
    [name] = [name for name in files(cache) if name.endswith(".plan")]
    assert first.stdout.startswith("built in ") and str(cache / name) in first.stdout
    assert "compute capability 8.0+, 96x64, 64x64, batch 1 to 2\n" in first.stdout
    assert "not compared with its ONNX file yet, for want of a GPU" in first.stdout
    assert "reading the network" in first.stderr or "rewriting the network" in first.stderr
    second = command(*words)
    assert second.returncode == 0 and second.stdout.startswith("already built, on ")
    described = load_plan_manifest((cache / name).with_suffix(".json"))
    assert (
        described.command
        == f"hybridnet build-engine {' '.join(words[:1])} --precision fp32 --size 96x64 --size 64x64 --batch 2"
    )


def test_the_command_says_what_is_wrong(cache: Path, tiny: str) -> None:
    missing = command(tiny)
    assert missing.returncode == 2 and "required: --size" in missing.stderr
    wrong = command(tiny, "--size", "96")
    assert wrong.returncode == 2 and "'96' is no size: write it like 1242x375" in wrong.stderr
    unknown = command("nothing", "--size", "96x64")
    assert unknown.returncode == 1 and unknown.stderr.startswith(
        "hybridnet build-engine: no engine is called 'nothing'"
    )


def test_a_plan_of_the_cache_is_found_again_by_its_key_only(cache: Path, tiny: str, tmp_path: Path) -> None:
    plan = build_plan(tiny, "fp32", [CAMERA]).plan
    other = load_manifest(write_tiny_engine(tmp_path, "other", work=3).with_suffix(".json"))
    search = find_plan("other", other, load_tensorrt(None))
    assert search.plan is None and "it was built from another ONNX file" in search.reason
    # A plan that was renamed to the name of another key is not taken for it.
    manifest = load_manifest(Path(tiny).with_suffix(".json"))
    key = build_plan(tiny, "fp16", [CAMERA]).plan.manifest.key
    for suffix in (".plan", ".json"):
        plan.path.with_suffix(suffix).replace(plans.plan_path(key, manifest.network).with_suffix(suffix))
    assert plans.load_plan(key, manifest.network) is None
    with pytest.raises(PlanError):
        plans.read_plan(plan.path, plan.manifest)


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops in TensorRT-RTX")
def test_what_tensorrt_measured_is_kept_for_the_next_build(tiny: str, tmp_path: Path) -> None:
    cache, stop = tmp_path / "timing" / "a.cache", threading.Event()
    recipe = Recipe(load_tensorrt(None), Path(tiny).read_bytes(), "fp32", Profile((CAMERA,)), cache)
    for before in (None, b"damaged"):
        if before is not None:
            cache.write_bytes(before)
        assert build(recipe, lambda phase, fraction: None, stop).plan[:4] == b"vtrt"
        assert cache.is_file() and cache.read_bytes() != before and files(tmp_path / "timing") == ["a.cache"]


class Config:
    """An IBuilderConfig that has what one version's has, and notes what is set."""

    def __init__(self, members: list[str]) -> None:
        self.__dict__["members"] = members
        self.__dict__["calls"] = []

    def __getattr__(self, name: str):
        assert name in self.members, name
        return lambda *arguments: self.calls.append((name, *arguments))

    def __setattr__(self, name: str, value: object) -> None:
        assert name in self.members, name
        self.calls.append((name, value))


@pytest.mark.parametrize("version", sorted(path.stem[len("tensorrt-") :] for path in NAMES.glob("*.json")))
def test_every_version_is_configured_with_what_it_has(version: str) -> None:
    names = json.loads((NAMES / f"tensorrt-{version}.json").read_text())["names"]
    kinds = {kind: SimpleNamespace(**{each: each for each in members or ()}) for kind, members in names.items()}
    trt = TensorRT("tensorrt", SimpleNamespace(__version__=version, **kinds), None)
    assert is_typed(trt) == (version != "8.6.0")

    def configured(precision: str) -> Config:
        config = Config(names["IBuilderConfig"])
        configure(trt, config, Recipe(trt, b"", precision, Profile((CAMERA,)), None))
        return config

    for precision in ("fp32", "fp16", "int8"):
        calls = configured(precision).calls
        assert ("clear_flag", "TF32") in calls and ("profiling_verbosity", "DETAILED") in calls
        flags = [call[1] for call in calls if call[0] == "set_flag"]
        expected = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8", "FP16"]}[precision]
        assert flags == ([] if is_typed(trt) else expected)
        assert (("set_preview_feature", "PROFILE_SHARING_0806", True) in configured(precision).calls) == (
            "PROFILE_SHARING_0806" in names["PreviewFeature"]
        )
    if is_typed(trt):
        configured("bf16")
    else:
        with pytest.raises(PlanError, match="TensorRT 8.6.0 has no bf16: take fp32 or fp16"):
            configured("bf16")


def test_the_bar_shows_how_much_is_done() -> None:
    assert progress_line("reading the network", None) == "reading the network"
    assert progress_line("Timing", 0.5) == f"[{'#' * 15}{'.' * 15}]  50% Timing"
    assert progress_line("done", 1.0).startswith(f"[{'#' * 30}] 100%")
