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


class ParameterError(ValueError):
    """A parameter has a value that the node cannot take; the message names it and what is allowed."""


class Effect(Enum):
    """When a new value of a parameter takes effect; the value is how the descriptor says it."""

    START = "read at start only"
    CONFIGURE = "takes effect at the next configure; refused while the node is active"
    ACTIVATE = "takes effect at the next activate; refused while the node is active"
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
        "driving", "Name of a shipped engine, or path of an .onnx file with its .json beside it.", Effect.CONFIGURE
    )
    runtime: str = parameter(
        "auto",
        "What runs the engine; auto takes the first of tensorrt, onnx_cuda and onnx_cpu that works on this machine.",
        Effect.CONFIGURE,
        choices=RUNTIMES,
    )
    threads: int = parameter(0, "CPU threads of the engine; 0 is one for each core.", Effect.CONFIGURE, (0, 256))
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
        1.0, "Depth in metres at the near end of the colours of depth/color.", Effect.FRAME, (0.01, 1e4)
    )
    color_max_depth: float = parameter(
        80.0, "Depth in metres at the far end of the colours of depth/color.", Effect.FRAME, (0.01, 1e4)
    )
    image_timeout: float = parameter(
        5.0, "Seconds without an image after which the node warns; 0 never warns.", Effect.FRAME, (0.0, 3600.0)
    )
    max_failures: int = parameter(
        5, "Failed inferences in a row after which the node deactivates itself.", Effect.FRAME, (1, 1_000_000)
    )
    diagnostics_period: float = parameter(
        1.0, "Seconds from one message on /diagnostics to the next.", Effect.START, (0.1, 60.0)
    )

    def check(self) -> None:
        """Raises ParameterError for values that ranges alone cannot exclude."""
        for row in fields(self):
            choices, value = row.metadata["choices"], getattr(self, row.name)
            if choices and value not in choices:
                raise ParameterError(f"{row.name} is {value!r}: choose one of {', '.join(choices)}")
        for low, high in (("min_depth", "max_depth"), ("color_min_depth", "color_max_depth")):
            if not getattr(self, low) < getattr(self, high):
                raise ParameterError(
                    f"{low} ({getattr(self, low)} m) must be less than {high} ({getattr(self, high)} m)"
                )


def declare(node: Node) -> Settings:
    """Declares every parameter on `node` and returns what the command line and parameter files made of them.

    Raises:
        ParameterError: a value of the wrong type, out of range or not among the choices.
    """
    values = {row.name: _declare(node, row) for row in fields(Settings)}
    settings = Settings(**values)
    settings.check()
    return settings


def updated(settings: Settings, changes: Iterable[tuple[str, Any]], active: bool) -> Settings:
    """`settings` with `changes` (name, value) applied; names that are not ours pass.

    Raises:
        ParameterError: the values contradict each other, or one of them cannot change while the node is active.
    """
    rows = {row.name: row for row in fields(Settings)}
    ours = {name: value for name, value in changes if name in rows}
    for name, value in ours.items():
        effect = rows[name].metadata["effect"]
        if active and effect in (Effect.CONFIGURE, Effect.ACTIVATE) and value != getattr(settings, name):
            raise ParameterError(f"{name} {effect.value}: deactivate the node first")
    new = replace(settings, **ours)
    new.check()
    return new


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
