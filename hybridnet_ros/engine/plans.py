"""The cache of TensorRT plans: a folder of plan files, each with its manifest.

It is outside the repository: $HYBRIDNET_CACHE, else $XDG_CACHE_HOME/hybridnet, else ~/.cache/hybridnet. All of it may
be deleted at any time: it is built again. A plan counts only with a manifest that fits it, which is written last, so
whatever happens while a plan is written there is never half of one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hybridnet_ros.engine.errors import PlanError
from hybridnet_ros.engine.files import write_whole
from hybridnet_ros.engine.manifest import Manifest
from hybridnet_ros.engine.plan_manifest import (
    PlanKey,
    PlanManifest,
    PlanParity,
    Size,
    build_command,
    load_plan_manifest,
    runs_on,
)
from hybridnet_ros.engine.tensorrt_module import TensorRT

DEFAULT_PRECISION = "fp16"


@dataclass(frozen=True)
class Plan:
    """A plan in the cache: whole, and the one that its manifest describes.

    Attributes:
        path: its file.
        manifest: what it is.
        data: what TensorRT deserialises.
    """

    path: Path
    manifest: PlanManifest
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Search:
    """What `find_plan` found.

    Attributes:
        plan: the plan to use, or None.
        refused: why each of the others with the same network is not it; empty where a plan was found.
        command: what to run to get the plan that is missing.
    """

    plan: Plan | None
    refused: tuple[str, ...]
    command: str

    @property
    def reason(self) -> str:
        """Why there is no plan and what to do, in one line."""
        return f"{'; '.join(self.refused) or 'no plan was built yet'}: run {self.command}"


def cache_folder() -> Path:
    """Where plans and timing caches are kept.

    Raises:
        PlanError: no place is named and this user has no home.
    """
    for variable, below in (("HYBRIDNET_CACHE", ""), ("XDG_CACHE_HOME", "hybridnet")):
        folder = Path(os.environ.get(variable) or "")
        if folder.is_absolute():
            return folder / below
    try:
        return Path.home() / ".cache" / "hybridnet"
    except RuntimeError:
        raise PlanError("no folder for plans, as this user has no home: set HYBRIDNET_CACHE to a folder") from None


def find_plan(
    engine: str,
    manifest: Manifest,
    trt: TensorRT,
    precision: str | None = None,
    sizes: Sequence[Size] = (),
    batch: int = 1,
) -> Search:
    """The plan to run an engine with: the one built last of those that are right for this GPU and TensorRT, and whole.

    Args:
        engine: name or path of the engine, for the command that builds a plan.
        manifest: of its ONNX file.
        trt: what would run it.
        precision: only plans of this precision; of any when None.
        sizes: network sizes that it must take.
        batch: number of images that it must take.

    Whether the plan's parity still has to be measured here, `plan.manifest.unchecked(gpu)` says.
    """
    refused, command = [], None
    for path, described in kept_plans(manifest.network):
        if isinstance(described, PlanError):
            refused.append(str(described))
            continue
        reasons = misfits(described.key, manifest, trt, precision, sizes, batch)
        if not reasons:
            try:
                return Search(Plan(path, described, read_plan(path, described)), (), described.command)
            except PlanError as error:
                reasons = [str(error)]
        refused.append(f"the plan {path.name} is not for this: {', '.join(reasons)}")
        if command is None and precision in (None, described.key.precision):
            wanted = described.cameras if described.key.profile.covers(sizes, batch) else ()
            command = build_command(
                engine,
                described.key.precision,
                wanted or sizes,
                max(batch, described.key.profile.batch),
                described.calibration,
            )
    return Search(None, tuple(refused), command or build_command(engine, precision or DEFAULT_PRECISION, sizes, batch))


def kept_plans(network: str) -> list[tuple[Path, PlanManifest | PlanError]]:
    """Every plan of a network in the cache, the newest first, then what cannot be read."""
    found: list[tuple[Path, PlanManifest]] = []
    broken: list[tuple[Path, PlanManifest | PlanError]] = []
    for path in sorted(_plans().glob(f"{_file_name(network)}-*.json")):
        try:
            described = load_plan_manifest(path)
        except PlanError as error:
            broken.append((path, error))
            continue
        if described.network == network:
            found.append((path.with_suffix(".plan"), described))
    return [*sorted(found, key=lambda each: each[1].built, reverse=True), *broken]


def misfits(
    key: PlanKey, manifest: Manifest, trt: TensorRT, precision: str | None, sizes: Sequence[Size], batch: int
) -> list[str]:
    """Why a plan is not the one to run an engine with (see `find_plan`), each as a clause; empty if it is."""
    reasons = []
    if key.onnx_sha256 != manifest.onnx_sha256:
        reasons.append("it was built from another ONNX file")
    if key.flavour != trt.flavour or key.version != trt.version:
        reasons.append(f"it was built by {key.flavour} {key.version}, this is {trt.flavour} {trt.version}")
    if key.system != trt.system:
        reasons.append(f"it was built for {key.system}, this is {trt.system}")
    if trt.gpu is not None and not runs_on(key.compute_capability, trt.gpu):
        reasons.append(
            f"it was built for GPUs of compute capability {key.compute_capability}, "
            f"this is {trt.gpu.name} with {trt.gpu.compute_capability}"
        )
    if precision not in (None, key.precision):
        reasons.append(f"it is {key.precision}, not {precision}")
    if not key.profile.covers(sizes, batch):
        reasons.append(f"it takes {key.profile}")
    return reasons


def load_plan_file(path: Path, engine: str, manifest: Manifest, trt: TensorRT) -> Plan:
    """The plan at `path`, in the cache or elsewhere, to run the engine of `manifest` with.

    Raises:
        PlanError: it is damaged, or was built for another ONNX file, TensorRT or GPU; says which, and what to run.
    """
    described = load_plan_manifest(path.with_suffix(".json"))
    reasons = misfits(described.key, manifest, trt, None, (), 1)
    try:
        data = read_plan(path, described)
    except PlanError as error:
        reasons.append(str(error))
    if reasons:
        again = dataclasses.replace(described, engine=engine).command
        raise PlanError(f"the plan {path} is not for this: {', '.join(reasons)}: run {again}")
    return Plan(path, described, data)


def load_plan(key: PlanKey, network: str) -> Plan | None:
    """The plan of exactly this key; None if there is none or it is damaged."""
    path = plan_path(key, network)
    try:
        described = load_plan_manifest(path.with_suffix(".json"))
        return Plan(path, described, read_plan(path, described)) if described.key == key else None
    except PlanError:
        return None


def read_plan(path: Path, manifest: PlanManifest) -> bytes:
    """The contents of a plan file.

    Raises:
        PlanError: it is missing, cut short, or changed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PlanError(f"its file cannot be read ({error.strerror})") from None
    if len(data) != manifest.plan_bytes:
        raise PlanError(f"its file has {len(data)} bytes in place of {manifest.plan_bytes}")
    if hashlib.sha256(data).hexdigest() != manifest.plan_sha256:
        raise PlanError("its file was changed (its SHA-256 differs)")
    return data


def plan_path(key: PlanKey, network: str) -> Path:
    """Where the plan of this key is, or would be."""
    return _plans() / f"{_file_name(network)}-{key.precision}-{key.digest}.plan"


def timing_cache_path(key: PlanKey) -> Path:
    """Where TensorRT's measurements for this kind of GPU and version are kept."""
    return cache_folder() / "timing" / f"{key.flavour}-{key.version}-{key.system}-{key.compute_capability}.cache"


def save_plan(manifest: PlanManifest, data: bytes) -> Plan:
    """Writes a plan with its manifest; to be called under `locked`.

    Raises:
        PlanError: the disk is full or the folder cannot be written; the cache is as if nothing had been tried.
    """
    path = plan_path(manifest.key, manifest.network)
    described = path.with_suffix(".json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in path.parent.glob(f".{path.stem}.*.tmp"):  # of a process that was killed
            left.unlink(missing_ok=True)
        described.unlink(missing_ok=True)  # from here on the old plan does not count
        write_whole(path, data)
        write_whole(described, _text(manifest))
    except OSError as error:
        with contextlib.suppress(OSError):
            described.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        raise PlanError(
            f"cannot keep the plan ({len(data) / 1e6:.0f} MB) in {path.parent}: {error.strerror}; make room there, "
            "or set HYBRIDNET_CACHE to another folder"
        ) from error
    return Plan(path, manifest, data)


def save_parity(plan: Plan, parity: PlanParity) -> Plan:
    """Notes that the plan passed its gate; where that cannot be written, it is measured again next time."""
    passed = dataclasses.replace(plan, manifest=dataclasses.replace(plan.manifest, parity=parity))
    with contextlib.suppress(OSError):
        write_whole(plan.path.with_suffix(".json"), _text(passed.manifest))
    return passed


def remove_plan(plan: Plan) -> None:
    """Takes a plan out of the cache."""
    plan.path.with_suffix(".json").unlink(missing_ok=True)
    plan.path.unlink(missing_ok=True)


def _plans() -> Path:
    return cache_folder() / "plans"


def _file_name(network: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "_", network)


def _text(manifest: PlanManifest) -> bytes:
    data = manifest.to_dict()
    PlanManifest.from_dict(data)
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()
