"""Every parameter of the node in one table: the fields of `Settings`, each with description, range and time of effect.

`declare` gives the table to ROS and loads what the user set; `updated` checks a later `ros2 param set` against it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from hybridnet_ros.engine import RUNTIMES
from hybridnet_ros.node.names import OUTPUTS, named_cameras


class ParameterError(ValueError):
    """A parameter has a value that the node cannot take; the message names it and what is allowed."""


class Effect(Enum):
    """When a new value of a parameter takes effect; the value is how the descriptor says it."""

    START = "read at start only"
    CONFIGURE = "takes effect at the next configure; refused while the node is active"
    ACTIVATE = "takes effect at the next activate; refused while the node is active"
    SWAP = "takes effect as soon as the new engine is open; until then the old one answers"
    FRAME = "takes effect on the next frame"


def parameter(
    default: Any,
    description: str,
    effect: Effect,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A row of the table: a dataclass field of `Settings`; `limits` are inclusive and of the default's type."""
    return field(
        default=default,
        metadata={"description": description, "effect": effect, "limits": limits, "choices": choices},
    )


@dataclass(frozen=True)
class Settings:
    """The values of all parameters at one moment. A frame is processed under one `Settings` from start to end."""

    engine: str = parameter(
        "driving", "Name of a shipped engine, or path of an .onnx file with its .json beside it.", Effect.SWAP
    )
    runtime: str = parameter(
        "auto",
        "What runs the engine; auto takes the first of tensorrt, onnx_cuda and onnx_cpu that works on this machine.",
        Effect.SWAP,
        choices=RUNTIMES,
    )
    threads: int = parameter(0, "CPU threads of the engine; 0 is one for each core.", Effect.SWAP, (0, 256))
    build_engine: bool = parameter(
        True,
        "With runtime tensorrt and no plan for the cameras' images: answer with ONNX Runtime, build the plan in the "
        "background and go over to it. False refuses instead.",
        Effect.SWAP,
    )
    cameras: tuple[str, ...] = parameter(
        ("",),
        "The cameras: names, as front for the topic front/image, or image topics, as /front/image_raw for a camera "
        "called front. One empty name is one camera on the topic image.",
        Effect.CONFIGURE,
    )
    batch_window: float = parameter(
        5.0,
        "Milliseconds that an image may wait for those of the other cameras, to be run in one batch; 0 never waits.",
        Effect.FRAME,
        (0.0, 1000.0),
    )
    max_batch: int = parameter(
        0,
        "Most images in one batch; 0 is 8 on a GPU and 1 on a CPU, where the first would wait for the last.",
        Effect.FRAME,
        (0, 64),
    )
    max_rate: float = parameter(
        0.0, "Most images of each camera in a second that are answered; 0 sets no limit.", Effect.FRAME, (0.0, 1000.0)
    )
    outputs: tuple[str, ...] = parameter(
        OUTPUTS, "The outputs that exist; they are made while somebody subscribes.", Effect.FRAME, choices=OUTPUTS
    )
    autostart: bool = parameter(
        True, "Configure and activate at start. Set false under a lifecycle manager.", Effect.START
    )
    input_transport: str = parameter(
        "auto",
        "Which images to take: raw (image), compressed (image/compressed), or auto: raw where it is published.",
        Effect.ACTIVATE,
        choices=("auto", "raw", "compressed"),
    )
    depth_encoding: str = parameter(
        "32FC1",
        "Encoding of depth/image: 32FC1 (metres; NaN, +Inf, -Inf where there is none) or 16UC1 (millimetres; 0).",
        Effect.FRAME,
        choices=("32FC1", "16UC1"),
    )
    min_depth: float = parameter(
        0.1, "Depth in metres below which a pixel is too near: -Inf.", Effect.FRAME, (0.0, 1e4)
    )
    max_depth: float = parameter(
        80.0, "Depth in metres above which a pixel is beyond range: +Inf.", Effect.FRAME, (0.0, 1e4)
    )
    min_confidence: float = parameter(
        0.0, "Probability below which a pixel of the mask is unlabelled (255); 0 labels all.", Effect.FRAME, (0.0, 1.0)
    )
    color_min_depth: float = parameter(
        0.0, "Depth in metres at the near end of the colours of depth/color; 0: the engine's.", Effect.FRAME, (0.0, 1e4)
    )
    color_max_depth: float = parameter(
        0.0, "Depth in metres at the far end of the colours of depth/color; 0: the engine's.", Effect.FRAME, (0.0, 1e4)
    )
    image_timeout: float = parameter(
        5.0, "Seconds without an image after which the node warns; 0 never warns.", Effect.FRAME, (0.0, 3600.0)
    )
    inference_timeout: float = parameter(
        10.0,
        "Seconds after which an engine that does not return from a frame is reported; 0 never does.",
        Effect.FRAME,
        (0.0, 3600.0),
    )
    max_failures: int = parameter(
        5, "Failed inferences in a row after which the node deactivates itself.", Effect.FRAME, (1, 1_000_000)
    )
    min_output_rate: float = parameter(
        0.0, "Answers a second below which a camera warns; below half of it: error; 0 is off.", Effect.FRAME, (0.0, 1e3)
    )
    max_age: float = parameter(
        1000.0,
        "Age in ms on publication (p95) above which a camera warns; above twice as much: error; 0 is off.",
        Effect.FRAME,
        (0.0, 1e6),
    )
    max_drop_share: float = parameter(
        0.0,
        "Part of the images that may be lost (replaced by newer ones, bad, failed) before a camera warns; above twice "
        "as much: error; 0 is off.",
        Effect.FRAME,
        (0.0, 1.0),
    )
    diagnostics_period: float = parameter(
        1.0, "Seconds from one message on /diagnostics to the next.", Effect.START, (0.1, 60.0)
    )

    def depth_colors(self, shown: tuple[float, float]) -> tuple[float, float]:
        """Metres at the ends of the depth colours, where the engine would show `shown`.

        An end of the engine's that lies on the wrong side of the one that was set is moved to half or twice that.
        """
        near, far = self.color_min_depth or shown[0], self.color_max_depth or shown[1]
        if near >= far:
            return (near, 2 * near) if self.color_min_depth else (far / 2, far)
        return near, far

    def check(self) -> None:
        """Raises ParameterError for values that ranges alone cannot exclude."""
        for row in fields(self):
            choices, value = row.metadata["choices"], getattr(self, row.name)
            unknown = [
                one for one in (value if isinstance(value, tuple) else (value,)) if choices and one not in choices
            ]
            if unknown:
                raise ParameterError(f"{row.name} is {unknown[0]!r}: choose one of {', '.join(choices)}")
        for low, high in (("min_depth", "max_depth"), ("color_min_depth", "color_max_depth")):
            engines = low == "color_min_depth" and 0 in (self.color_min_depth, self.color_max_depth)
            if not (engines or getattr(self, low) < getattr(self, high)):
                raise ParameterError(
                    f"{low} ({getattr(self, low)} m) must be less than {high} ({getattr(self, high)} m)"
                )
        try:
            named_cameras(self.cameras)
        except ValueError as error:
            raise ParameterError(f"cameras: {error}") from None


def declare(node: Node) -> Settings:
    """Declares every parameter on `node` and returns what the command line and parameter files made of them.

    Raises:
        ParameterError: a value of the wrong type, out of range or not among the choices.
    """
    values = {row.name: _frozen(_declare(node, row)) for row in fields(Settings)}
    settings = Settings(**values)
    settings.check()
    return settings


def updated(settings: Settings, changes: Iterable[tuple[str, Any]], active: bool) -> Settings:
    """`settings` with `changes` (name, value) applied; names that are not ours pass.

    Raises:
        ParameterError: the values contradict each other, or one of them cannot change while the node is active.
    """
    rows = {row.name: row for row in fields(Settings)}
    ours = {name: _frozen(value) for name, value in changes if name in rows}
    for name, value in ours.items():
        effect = rows[name].metadata["effect"]
        if active and effect in (Effect.CONFIGURE, Effect.ACTIVATE) and value != getattr(settings, name):
            raise ParameterError(f"{name} {effect.value}: deactivate the node first")
    new = replace(settings, **ours)
    new.check()
    return new


def _frozen(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else tuple(value)


def unknown_parameter(name: str) -> str | None:
    """What to tell a user who set `name`, if the node has no such parameter (ROS itself ignores it without a word)."""
    known = [row.name for row in fields(Settings)]
    if name in known or name.startswith("qos_overrides.") or name in ("use_sim_time", "start_type_description_service"):
        return None
    alike = difflib.get_close_matches(name, known, n=1)
    return f"there is no parameter '{name}'" + (f"; did you mean '{alike[0]}'?" if alike else "")


def descriptor(row: Any) -> ParameterDescriptor:
    """The ROS descriptor of one field of `Settings`."""
    effect, limits, choices = (row.metadata[key] for key in ("effect", "limits", "choices"))
    constraints = [f"one of {', '.join(choices)}"] if choices else []
    result = ParameterDescriptor(
        description=row.metadata["description"],
        additional_constraints="; ".join([*constraints, effect.value]),
        read_only=effect is Effect.START,
    )
    if limits is not None and isinstance(row.default, int):
        result.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1], step=0)]
    elif limits is not None:
        result.floating_point_range = [FloatingPointRange(from_value=limits[0], to_value=limits[1], step=0.0)]
    return result


def _declare(node: Node, row: Any) -> Any:
    try:
        try:
            return node.declare_parameter(row.name, row.default, descriptor(row)).value
        except InvalidParameterTypeException:
            if not isinstance(row.default, float):
                raise
            return _declare_whole_number(node, row)
    except InvalidParameterTypeException as error:
        raise ParameterError(
            f"{row.name} must be a {type(row.default).__name__}, as in {row.default!r}: {error}"
        ) from None
    except InvalidParameterValueException as error:
        raise ParameterError(f"{row.name}: {error}") from None


def _declare_whole_number(node: Node, row: Any) -> float:
    """Takes `max_depth:=60` for 60.0: ROS reads an integer there and would refuse it."""
    given = node.declare_parameter(row.name, row.default, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(row.name)
    value = float(given) if isinstance(given, int) and not isinstance(given, bool) else math.nan
    if math.isnan(value):
        raise ParameterError(f"{row.name} must be a number, as in {row.default!r}; got {given!r}")
    return float(node.declare_parameter(row.name, value, descriptor(row), ignore_override=True).value)
