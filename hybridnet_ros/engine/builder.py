"""Gives a network to TensorRT's builder and takes a plan from it. What differs between versions is looked up."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridnet_ros.engine.errors import BuildCancelled, PlanError
from hybridnet_ros.engine.files import write_whole
from hybridnet_ros.engine.plan_manifest import Profile, Tensor
from hybridnet_ros.engine.tensorrt_module import TensorRT

Progress = Callable[[str, float | None], None]
"""Told what is being done, and how much of it is done (0 to 1) where that is known."""

BUILDER_THREAD = "TensorRT builder"

_WORKSPACE = 1 << 30  # bytes of scratch memory that a layer may use
_LOOK_S = 0.1
_EXPECTED = {"image": ("UINT8", 4), "depth": ("FLOAT", 3), "labels": ("UINT8", 3), "confidence": ("UINT8", 3)}


@dataclass(frozen=True)
class Recipe:
    """What to build.

    Attributes:
        trt: what builds.
        onnx: contents of the ONNX file, written for the precision where `is_typed(trt)`.
        precision: one of PRECISIONS.
        profile: which images the plan is to take.
        timing_cache: file with what TensorRT measured on this GPU before; None to keep nothing.
    """

    trt: TensorRT
    onnx: bytes
    precision: str
    profile: Profile
    timing_cache: Path | None


@dataclass(frozen=True)
class Result:
    """A plan, its inputs and outputs, and what the builder was told."""

    plan: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any]


def is_typed(trt: TensorRT) -> bool:
    """Does precision come from the ONNX file (TensorRT 10 and newer), not from a flag (8.6)?"""
    return trt.has("NetworkDefinitionCreationFlag.STRONGLY_TYPED")


def build(recipe: Recipe, progress: Progress, stop: threading.Event) -> Result:
    """Builds a plan in a thread of its own, so that Ctrl-C and `stop` are heard at once.

    Raises:
        BuildCancelled: `stop` was set.
        PlanError: the network is not one for TensorRT, or no HybridNet engine; names the operator.
        TensorRTError: TensorRT failed; says what it logged.
    """
    trt = recipe.trt
    trt.logger.clear()
    progress("reading the network", None)
    builder = trt.module.Builder(trt.logger)
    flag = "STRONGLY_TYPED" if is_typed(trt) else "EXPLICIT_BATCH"
    network = builder.create_network(1 << int(trt.get(f"NetworkDefinitionCreationFlag.{flag}")))
    parser = trt.module.OnnxParser(network, trt.logger)
    if not parser.parse(recipe.onnx):
        raise _unreadable(trt, parser)
    inputs = tuple(_tensor(network.get_input(index)) for index in range(network.num_inputs))
    outputs = tuple(_tensor(network.get_output(index)) for index in range(network.num_outputs))
    _check_tensors(inputs + outputs)
    config = builder.create_builder_config()
    options = {"network": flag, **configure(trt, config, recipe)}
    for index, (width, height) in enumerate(recipe.profile.sizes):
        optimization_profile = builder.create_optimization_profile()
        least, most = (1, height, width, 3), (recipe.profile.batch, height, width, 3)
        optimization_profile.set_shape("image", least, most, most)
        if config.add_optimization_profile(optimization_profile) != index:
            raise trt.error(f"{trt.product} refuses images of {width}x{height} at network size")
    with _timing_cache(trt, config, recipe.timing_cache):
        plan = _serialise(trt, builder, network, config, progress, stop)
    return Result(plan, inputs, outputs, options)


def configure(trt: TensorRT, config: Any, recipe: Recipe) -> dict[str, Any]:
    """Sets what is the same for all plans; returns it for the manifest."""
    flags = []
    config.set_memory_pool_limit(trt.module.MemoryPoolType.WORKSPACE, _WORKSPACE)
    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.module.BuilderFlag.TF32)  # what is float32 is to be float32
    if not is_typed(trt):
        for name in {"fp32": (), "fp16": ("FP16",), "int8": ("INT8", "FP16")}.get(recipe.precision, ("BF16",)):
            value = trt.get(f"BuilderFlag.{name}")
            if value is None:
                raise PlanError(f"{trt.product} has no {recipe.precision}: take fp32 or fp16")
            config.set_flag(value)
            flags.append(name)
    for name in ("PROFILE_SHARING_0806", "DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805"):
        value = trt.get(f"PreviewFeature.{name}")
        if value is not None:  # 8.6: several contexts on one profile, and no need for cuBLAS and cuDNN
            config.set_preview_feature(value, True)
            flags.append(name)
    return {"flags": flags, "tf32": False, "workspace": _WORKSPACE}


def _serialise(
    trt: TensorRT, builder: Any, network: Any, config: Any, progress: Progress, stop: threading.Event
) -> bytes:
    """Runs the builder in a thread and waits for it, so that this thread still hears signals."""
    monitored = trt.has("IProgressMonitor") and trt.has("IBuilderConfig.progress_monitor")
    if monitored:
        config.progress_monitor = _monitor_class(trt.module)(progress, stop)
    done: list[Any] = []

    # Not the thread's own join: interrupted by Ctrl-C, Python 3.11 takes the thread for ended.
    ended = threading.Event()

    def work() -> None:
        try:
            done.append(builder.build_serialized_network(network, config))
        except Exception as error:  # pybind11's, for the thread that waits
            done.append(error)
        finally:
            ended.set()

    started = time.monotonic()
    threading.Thread(target=work, name=BUILDER_THREAD, daemon=True).start()
    try:
        while not ended.wait(_LOOK_S):
            if not monitored:
                progress(f"building, {time.monotonic() - started:.0f} s", None)
                if stop.is_set():
                    break
    except BaseException:
        stop.set()
        if monitored:
            ended.wait()
        raise
    if stop.is_set():
        raise BuildCancelled("the build was stopped; nothing was kept")
    [host_memory] = done
    if isinstance(host_memory, Exception) or host_memory is None:
        detail = f" ({host_memory})" if host_memory is not None else ""
        raise trt.error(f"{trt.product} could not build the plan{detail}")
    return bytes(memoryview(host_memory))


@contextlib.contextmanager
def _timing_cache(trt: TensorRT, config: Any, path: Path | None) -> Iterator[None]:
    """What TensorRT measures is kept for the next build on the same kind of GPU."""
    if path is None:
        yield
        return
    before = b""
    with contextlib.suppress(OSError):
        before = path.read_bytes()
    timing_cache = config.create_timing_cache(before)
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):  # of another version, or damaged
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
        trt.logger.clear()
    yield
    with contextlib.suppress(OSError):  # it only saves time
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        timing_cache = config.get_timing_cache()
        write_whole(path, bytes(memoryview(timing_cache.serialize())))


def _unreadable(trt: TensorRT, parser: Any) -> PlanError:
    named = trt.has("ParserError.node_operator") and trt.has("ParserError.node_name")
    reasons = []
    for index in range(parser.num_errors):
        parser_error = parser.get_error(index)
        reason = " ".join(parser_error.desc().split())
        if named:
            name = parser_error.node_name()
            reason = f"operator {parser_error.node_operator()}{f' ({name})' if name else ''}: {reason}"
        reasons.append(reason)
    if not named:
        reasons += [line for line in trt.logger.errors if "While parsing node" in line]
    trt.logger.clear()
    return PlanError(
        f"{trt.product} cannot take this network; {'; '.join(dict.fromkeys(reasons))}; run it with the runtime "
        "onnx_cuda or onnx_cpu, or export it without that operator"
    )


def _tensor(network_tensor: Any) -> Tensor:
    return Tensor(network_tensor.name, network_tensor.dtype.name, tuple(network_tensor.shape))


def _check_tensors(tensors: tuple[Tensor, ...]) -> None:
    found = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in tensors}
    if found != _EXPECTED:
        listed = ", ".join(f"{name} {dtype} with {axes} axes" for name, (dtype, axes) in found.items())
        raise PlanError(
            f"this is no HybridNet engine: TensorRT finds {listed}; export it with python -m training.export"
        )


def _monitor_class(module: Any) -> type:
    """A class of progress monitors: nested phases in, one rising number out."""

    class Monitor(module.IProgressMonitor):  # type: ignore[name-defined,misc]
        """Called by TensorRT, from several threads; an exception must not get back to it."""

        def __init__(self, progress: Progress, stop: threading.Event) -> None:
            module.IProgressMonitor.__init__(self)  # pybind11 does not allow super() here
            self._progress, self._stop = progress, stop
            self._lock = threading.Lock()
            self._phases: dict[str, _Phase] = {}
            self._fraction = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """A phase begins, inside one step of its parent."""
            with self._lock:
                self._phases[phase_name] = _Phase(parent_phase, max(num_steps, 1))
            self._tell(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            with self._lock:
                self._phases.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """One step of a phase is done; False stops the build."""
            with self._lock:
                if phase_name in self._phases:
                    self._phases[phase_name].done = step + 1
            self._tell(phase_name)
            return not self._stop.is_set()

        def _tell(self, phase: str) -> None:
            with self._lock:  # the caller is told one thing after the other, never less than before
                self._fraction = max(self._fraction, _done(self._phases, None))
                try:
                    self._progress(phase, self._fraction)
                except Exception:  # the caller's, who cannot be told from here
                    self._stop.set()

    return Monitor


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


def _done(phases: dict[str, _Phase], parent: str | None) -> float:
    """How much of the furthest phase below `parent` is done, 0 to 1."""
    return max(
        (
            min(1.0, (phase.done + _done(phases, name)) / phase.steps)
            for name, phase in phases.items()
            if phase.parent == parent and name != parent
        ),
        default=0.0,
    )
