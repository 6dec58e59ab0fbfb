"""What the node says on /diagnostics: one status for itself and one for each camera, as diagnostic_updater has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from hybridnet_ros.node.camera import Camera
from hybridnet_ros.node.engine_keeper import EngineKeeper
from hybridnet_ros.node.gpu import gpu_values
from hybridnet_ros.node.health import Health
from hybridnet_ros.node.names import NODE_TASK
from hybridnet_ros.node.parameters import Settings
from hybridnet_ros.node.troubles import Level, Trouble, Troubles, worst_first

_Values = list[tuple[str, str]]


def statuses(
    node_name: str,
    state: str,
    settings: Settings,
    troubles: Troubles,
    keeper: EngineKeeper | None,
    cameras: Sequence[Camera],
) -> list[DiagnosticStatus]:
    """The statuses of a node.

    A node with one camera without a name has one status with everything. With named cameras it has one of its own and
    one for each camera.
    """
    running = keeper.running.engine if keeper is not None else settings.engine
    if [camera.name for camera in cameras] == [""]:
        (camera,) = cameras
        values = [("state", state), *camera_values(camera), *engine_values(keeper)]
        both = [*troubles.troubles(), *camera_troubles(camera, settings)]
        return [_status(f"{node_name}: {NODE_TASK}", running, both, _idle_or(state, [camera]), values)]
    names = ", ".join(camera.name for camera in cameras)
    values = [("state", state), ("cameras", names), *engine_values(keeper)]
    found = [_status(f"{node_name}: {NODE_TASK}", running, troubles.troubles(), _idle_or(state, cameras), values)]
    for camera in cameras:
        own = [("state", state), *camera_values(camera)]
        text, worries = _idle_or(state, [camera]), camera_troubles(camera, settings)
        found.append(_status(f"{node_name}: {camera.name}", camera.name, worries, text, own))
    return found


def camera_values(camera: Camera) -> _Values:
    """What is known of a camera."""
    return [("input topic", camera.inputs.listening_to() if camera.inputs else "none"), *camera.health.values()]


def engine_values(keeper: EngineKeeper | None) -> _Values:
    """What runs, and the state of the GPU it runs on."""
    if keeper is None:
        return []
    engine = keeper.worker.engine()
    values = [
        ("network", engine.manifest.network),
        ("runtime", engine.description),
        ("engine sha256", engine.manifest.onnx_sha256[:12]),
    ]
    building = keeper.building()
    if building is not None:
        values.append(("engine build", building))
    return values + (gpu_values() if engine.runtime != "onnx_cpu" else [])


def camera_troubles(camera: Camera, settings: Settings) -> list[Trouble]:
    """What troubles a camera, the worst first."""
    judged = beyond_thresholds(camera.health, settings) if camera.inputs is not None else []
    return worst_first([*camera.health.troubles(), *judged])


def beyond_thresholds(health: Health, settings: Settings) -> list[Trouble]:
    """Which of the thresholds among the parameters a camera is beyond: warnings, and errors where twice as bad."""
    found = []
    rate, least = health.output_rate(), settings.min_output_rate
    if rate is not None and least and rate < least:
        text = f"{rate:.1f} answers/s, below min_output_rate of {least:g}"
        found.append(Trouble(Level.ERROR if rate < least / 2 else Level.WARN, text))
    age, most = health.age_p95_ms(), settings.max_age
    if age is not None and most and age > most and not health.has_trouble("clock"):
        text = f"answers are {age:.0f} ms old (p95), above max_age of {most:g}"
        found.append(Trouble(Level.ERROR if age > 2 * most else Level.WARN, text))
    share, allowed = health.drop_share(), settings.max_drop_share
    if share is not None and allowed and share > allowed:
        text = f"{share:.0%} of the images are lost, above max_drop_share of {allowed:.0%}"
        found.append(Trouble(Level.ERROR if share > 2 * allowed else Level.WARN, text))
    return found


def _idle_or(state: str, cameras: Iterable[Camera]) -> str:
    """The state in words."""
    active = [camera for camera in cameras if camera.inputs is not None]
    idle = active and not any(camera.outputs.wanted() for camera in active)
    return f"{state}, no subscriber" if idle else state


def _status(name: str, hardware_id: str, troubles: list[Trouble], text: str, values: _Values) -> DiagnosticStatus:
    ordered = worst_first(troubles)
    return DiagnosticStatus(
        name=name,
        hardware_id=hardware_id,
        level=bytes([ordered[0].level if ordered else Level.OK]),
        message="; ".join(trouble.text for trouble in ordered) or text,
        values=[KeyValue(key=key, value=value) for key, value in values],
    )
