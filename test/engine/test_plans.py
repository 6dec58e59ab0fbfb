"""The cache of plans: what is found, what is refused and why, and what is left when something goes wrong."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from hybridnet_ros.engine import plans
from hybridnet_ros.engine.errors import BuildCancelled, PlanError
from hybridnet_ros.engine.files import locked
from hybridnet_ros.engine.manifest import Manifest, load_manifest
from hybridnet_ros.engine.plan_manifest import (
    PlanKey,
    PlanManifest,
    PlanParity,
    Profile,
    build_command,
    load_plan_manifest,
    runs_on,
)
from hybridnet_ros.engine.plans import find_plan, load_plan, save_plan
from tiny import write_tiny_engine
from tiny_plans import DATA, ORIN, PROFILE, described, tensorrt


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "cache"))
    return load_manifest(write_tiny_engine(tmp_path).with_suffix(".json"))


def files() -> list[str]:
    folder = plans.cache_folder()
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_plan_comes_back_as_it_was_kept(manifest: Manifest) -> None:
    kept = save_plan(described(manifest), DATA)
    search = find_plan("driving", manifest, tensorrt(), "fp16", [(96, 64)], 2)
    assert search.plan == kept and search.plan.data == DATA and not search.refused
    assert load_plan(kept.manifest.key, manifest.network) == kept
    assert PlanManifest.from_dict(kept.manifest.to_dict()) == kept.manifest
    assert kept.path.name == f"tiny-fp16-{kept.manifest.key.digest}.plan"
    assert len(files()) == 2
    assert search.command == "hybridnet build-engine driving --precision fp16 --size 97x65 --size 64x64 --batch 2"


def test_the_plan_that_was_built_last_is_taken(manifest: Manifest) -> None:
    for precision, built in (("fp32", "2026-01-02"), ("fp16", "2026-01-03"), ("int8", "2026-01-01")):
        save_plan(described(manifest, precision, built), DATA)
    found = find_plan("driving", manifest, tensorrt()).plan
    assert found is not None and found.manifest.key.precision == "fp16"
    found = find_plan("driving", manifest, tensorrt(), "int8").plan
    assert found is not None and found.manifest.key.precision == "int8"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"onnx_sha256": "0" * 64}, "it was built from another ONNX file"),
        ({"version": "10.3.1"}, "it was built by tensorrt 10.3.1, this is tensorrt 10.3.0"),
        ({"flavour": "tensorrt_rtx"}, "it was built by tensorrt_rtx 10.3.0, this is tensorrt 10.3.0"),
        ({"compute_capability": "8.6"}, "it was built for GPUs of compute capability 8.6, this is Orin with 8.7"),
        ({"system": "windows-AMD64"}, "it was built for windows-AMD64, this is linux-"),
    ],
)
def test_a_plan_for_something_else_is_refused_with_the_command(
    manifest: Manifest, change: dict[str, object], reason: str
) -> None:
    save_plan(described(manifest, **change), DATA)
    search = find_plan("driving", manifest, tensorrt())
    assert search.plan is None
    [refused] = search.refused
    assert reason in refused
    command = "hybridnet build-engine driving --precision fp16 --size 97x65 --size 64x64 --batch 2"
    assert search.command == command and search.reason == f"{refused}: run {command}"


def test_a_plan_for_other_images_or_another_precision_is_no_answer(manifest: Manifest) -> None:
    save_plan(described(manifest), DATA)
    for asked, reason in (
        ({"precision": "int8"}, "it is fp16, not int8"),
        ({"batch": 3}, "it takes 96x64, 64x64, batch 1 to 2"),
        ({"sizes": [(96, 64), (32, 32)]}, "it takes 96x64, 64x64, batch 1 to 2"),
    ):
        search = find_plan("driving", manifest, tensorrt(), **asked)
        assert search.plan is None and reason in search.reason


def test_without_any_plan_the_command_asks_for_the_size(manifest: Manifest) -> None:
    search = find_plan("my net.onnx", manifest, tensorrt())
    assert search.reason == (
        "no plan was built yet: run hybridnet build-engine 'my net.onnx' --precision fp16 --size WIDTHxHEIGHT --batch 1"
    )


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda plan: plan.write_bytes(DATA[:-1]), "has 1003 bytes in place of 1004"),
        (lambda plan: plan.write_bytes(DATA[:-1] + b"x"), "was changed (its SHA-256 differs)"),
        (lambda plan: plan.unlink(), "cannot be read (No such file or directory)"),
        (lambda plan: plan.with_suffix(".json").write_text('{"format_version": 1'), "is not JSON"),
        (lambda plan: plan.with_suffix(".json").write_text("{}"), "not a valid plan manifest"),
        (lambda plan: plan.with_suffix(".json").write_bytes(b"\xff\xfe"), "is not JSON"),
    ],
)
def test_a_damaged_plan_is_refused(manifest: Manifest, damage, reason: str) -> None:
    kept = save_plan(described(manifest), DATA)
    damage(kept.path)
    search = find_plan("driving", manifest, tensorrt())
    assert search.plan is None and reason in search.reason and "hybridnet build-engine driving" in search.reason
    assert load_plan(kept.manifest.key, manifest.network) is None
    save_plan(kept.manifest, DATA)
    assert find_plan("driving", manifest, tensorrt()).plan == kept


def test_a_manifest_without_a_required_part_is_named(manifest: Manifest, tmp_path: Path) -> None:
    data = described(manifest).to_dict()
    data["key"]["precision"] = "fp12"
    del data["parity"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError, match="key.precision: 'fp12' is not one of .*top level: 'parity' is a required"):
        load_plan_manifest(path)


def test_the_key_tells_every_difference_apart(manifest: Manifest) -> None:
    key = described(manifest).key
    others = [
        dataclasses.replace(key, **change)
        for change in (
            {"onnx_sha256": "1" * 64}, {"flavour": "tensorrt_rtx"}, {"version": "11.0"}, {"system": "linux-aarch64"},
            {"compute_capability": "9.0"}, {"precision": "int8"}, {"profile": Profile(PROFILE.sizes, 1)},
            {"profile": Profile(PROFILE.sizes[:1], 2)},
        )
    ]  # fmt: skip
    assert len({key.digest, *(other.digest for other in others)}) == len(others) + 1
    assert dataclasses.replace(key).digest == key.digest


def test_plans_of_tensorrt_rtx_are_for_all_newer_gpus(manifest: Manifest) -> None:
    rtx = tensorrt("1.7", gpu=None, flavour="tensorrt_rtx")
    key = PlanKey.of(manifest.onnx_sha256, rtx, "fp16", PROFILE)
    assert key.compute_capability == "8.0+"
    gpus = [dataclasses.replace(ORIN, compute_capability=each) for each in ("7.5", "8.0", "8.9", "12.0")]
    assert [runs_on("8.0+", gpu) for gpu in gpus] == [False, True, True, True]
    assert [runs_on("8.9", gpu) for gpu in gpus] == [False, False, True, False]
    with pytest.raises(PlanError, match="and there is none"):
        PlanKey.of(manifest.onnx_sha256, tensorrt(gpu=None), "fp16", PROFILE)


def test_parity_holds_for_the_gpu_and_driver_it_was_measured_with(manifest: Manifest) -> None:
    plan = save_plan(described(manifest), DATA)
    assert plan.manifest.unchecked(ORIN) is None
    other = dataclasses.replace(ORIN, name="Thor")
    assert "was measured on Orin with the driver for CUDA 12.6, this is Thor" in (plan.manifest.unchecked(other) or "")
    unmeasured = save_plan(dataclasses.replace(plan.manifest, parity=None), DATA)
    assert "not measured yet" in (unmeasured.manifest.unchecked(ORIN) or "")
    parity = PlanParity("Thor", "13.0", 8, {"depth_abs_rel": 0.0}, {"depth_abs_rel": 0.005})
    assert plans.save_parity(unmeasured, parity).manifest.parity == parity
    found = find_plan("driving", manifest, tensorrt()).plan
    assert found is not None and found.manifest.parity == parity
    plans.remove_plan(found)
    assert files() == []


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HYBRIDNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(PlanError, match="Not a directory; make room there, or set HYBRIDNET_CACHE"):
        save_plan(described(manifest), DATA)
    with pytest.raises(PlanError, match="cannot write in .*set HYBRIDNET_CACHE"), locked(tmp_path / "file" / "x", bool):
        pytest.fail("there is nothing to lock")


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HYBRIDNET_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert plans.cache_folder() == tmp_path / ".cache" / "hybridnet"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/not/allowed")
    assert plans.cache_folder() == tmp_path / ".cache" / "hybridnet"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert plans.cache_folder() == Path("/elsewhere/hybridnet")
    monkeypatch.setenv("HYBRIDNET_CACHE", "/mine")
    assert plans.cache_folder() == Path("/mine")


def test_one_holds_the_lock_and_the_others_wait(tmp_path: Path) -> None:
    plan, order, waits = tmp_path / "a.plan", [], threading.Event()

    def waiting() -> bool:
        waits.set()
        return True

    def second() -> None:
        with locked(plan, waiting):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(plan, lambda: True):
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"] and list(tmp_path.iterdir()) == []


def test_who_waits_for_the_lock_can_give_up(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "a.plan", lambda: True),
        pytest.raises(BuildCancelled, match="another process"),
        locked(tmp_path / "a.plan", lambda: False),
    ):
        pytest.fail("the lock is held")
    assert list(tmp_path.iterdir()) == []


def test_commands_can_be_pasted() -> None:
    command = build_command("a b.onnx", "int8", [(1242, 375)], 4)
    assert command == "hybridnet build-engine 'a b.onnx' --precision int8 --size 1242x375 --batch 4"
