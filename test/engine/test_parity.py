"""The gate that a plan must pass: its arithmetic, with two networks in ONNX Runtime in place of plan and ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hybridnet_ros.engine import plans
from hybridnet_ros.engine.errors import PlanError
from hybridnet_ros.engine.manifest import Manifest, load_manifest
from hybridnet_ros.engine.onnx_engine import OnnxSession
from hybridnet_ros.engine.parity import (
    ParityError,
    beyond,
    check_plan,
    difference,
    measure,
    real_images,
    safer,
    tolerances,
)
from hybridnet_ros.engine.plan_manifest import PlanManifest
from hybridnet_ros.engine.plans import Plan
from hybridnet_ros.engine.typed_onnx import to_half
from tiny import tiny_network, write_tiny_engine
from tiny_plans import DATA, ORIN, described

SIZES = ((96, 64), (64, 64))


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    return load_manifest(write_tiny_engine(tmp_path).with_suffix(".json"))


def session(network: onnx.ModelProto) -> OnnxSession:
    return OnnxSession(network.SerializeToString(), Path("tiny.onnx"), "onnx_cpu", 1)


def changed(name: str, factor: float, work: int = 2) -> onnx.ModelProto:
    """The tiny network with one of its weights multiplied."""
    network = tiny_network(work)
    for tensor in network.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), name))
    return network


def plan_of(manifest: PlanManifest) -> Plan:
    return Plan(plans.plan_path(manifest.key, manifest.network), manifest, DATA)


def test_a_network_is_no_different_from_itself() -> None:
    images, measured = measure(session(tiny_network()), session(tiny_network()), SIZES, 3)
    assert images == 2 * len(real_images(SIZES[0])) == 16
    assert measured == dict.fromkeys(tolerances("fp32"), 0.0)
    assert beyond(measured, tolerances("fp32")) == []


def test_every_difference_is_measured() -> None:
    _, measured = measure(session(tiny_network()), session(changed("depth_weight", 1.1, work=0)), SIZES, 1)
    assert 0.05 < measured["depth_abs_rel"] < 0.1 and measured["labels_disagreement"] == 0
    _, measured = measure(session(tiny_network()), session(changed("score_bias", 1.2, work=0)), SIZES, 8)
    assert measured["depth_abs_rel"] == 0
    assert measured["labels_disagreement"] > 0.01 and measured["confidence_difference"] > 1


def test_values_that_are_not_finite_are_counted_and_refused() -> None:
    depth, labels = np.ones((1, 2, 2), np.float32), np.zeros((1, 2, 2), np.uint8)
    broken = depth.copy()
    broken[0, 0] = np.nan, np.inf
    found = difference((depth, labels, labels), (broken, labels, labels))
    assert found["depth_non_finite"] == 2 and found["depth_abs_rel"] == 0
    assert beyond(found, tolerances("int8")) == ["depth non finite is 2, at most 0 allowed"]
    nothing = difference((depth, labels, labels), (depth * np.float32(np.nan), labels, labels))
    assert len(beyond(nothing, tolerances("int8"))) == 2
    assert beyond({**found, "depth_abs_rel": float("nan")}, tolerances("int8"))[0].startswith("depth abs rel is nan")


def test_a_good_plan_gets_its_record(manifest: Manifest) -> None:
    candidate = session(changed("depth_weight", 1.001))
    parity = check_plan(plan_of(described(manifest)), tiny_network(2).SerializeToString(), candidate, ORIN)
    assert (parity.gpu, parity.driver, parity.images) == ("Orin", "12.6", 16)
    assert parity.tolerances == tolerances("fp16") and set(parity.measured) == set(parity.tolerances)
    assert 0 < parity.measured["depth_abs_rel"] < 0.005


def test_a_bad_plan_is_refused_with_a_report_and_the_next_safer_precision(manifest: Manifest) -> None:
    network = changed("work_weight", 300.0, work=4)
    half = to_half(network, "fp16")
    plan = plan_of(described(manifest))
    with pytest.raises(ParityError) as refused:
        check_plan(plan, tiny_network(4).SerializeToString(), session(changed("depth_weight", 2, 4)), ORIN,
                   half.SerializeToString())  # fmt: skip
    report = plans.cache_folder() / "rejected" / f"{plan.path.stem}.json"
    assert str(refused.value).startswith(
        "the fp16 plan answers otherwise than its ONNX file and is not used: depth abs rel"
    )
    assert "the first layer that departs is work_1" in str(refused.value)
    assert f"everything that was measured is in {report}" in str(refused.value)
    assert str(refused.value).endswith(
        "take the more exact bf16: hybridnet build-engine driving --precision bf16 --size 97x65 --size 64x64 --batch 2"
    )
    kept = json.loads(report.read_text())
    assert kept["parity"]["measured"]["depth_abs_rel"] > 0.5
    assert kept["first_departure"]["name"] == "work_1"
    assert [layer["name"] for layer in kept["layers"]][2:6] == ["work_0", "work_1", "work_2", "work_3"]
    assert kept["plan"]["key"]["precision"] == "fp16"


def test_a_report_that_cannot_be_kept_changes_nothing_else(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "file"))
    plan = plan_of(described(manifest, "fp32"))
    with pytest.raises(ParityError, match=r"could not be kept in .*rejected.*; please report this"):
        check_plan(plan, tiny_network().SerializeToString(), session(changed("depth_weight", 2, 0)), ORIN)


def test_the_next_safer_precision_is_one_that_can_be_built() -> None:
    assert [safer(each) for each in ("int8", "fp16", "bf16", "fp32")] == ["fp16", "bf16", "fp32", None]
    assert safer("fp16", ("fp32", "fp16", "int8")) == "fp32"


def test_tolerances_grow_with_coarser_numbers() -> None:
    for finer, coarser in (("fp32", "fp16"), ("fp16", "bf16"), ("bf16", "int8")):
        assert all(tolerances(finer)[name] <= limit for name, limit in tolerances(coarser).items())


def test_the_shipped_images_are_real_and_not_stretched(tmp_path: Path) -> None:
    wide, square = real_images((736, 224)), real_images((200, 200))
    assert len(wide) == len(square) == 8
    assert all(image.shape == (224, 736, 3) and image.std() > 30 for image in wide)
    assert all(image.shape == (200, 200, 3) for image in square)
    with pytest.raises(PlanError, match="holds no .jpg or .png file"):
        real_images((96, 64), tmp_path)
