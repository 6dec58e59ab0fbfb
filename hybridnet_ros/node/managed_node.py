"""The managed node: its lifecycle, and how the parts of this room are put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from hybridnet_ros.engine import EngineError, open_engine
from hybridnet_ros.messages.camera_infos import CameraInfos
from hybridnet_ros.node import process
from hybridnet_ros.node.frame import Frame
from hybridnet_ros.node.health import Drop, Health, Level
from hybridnet_ros.node.inputs import Inputs
from hybridnet_ros.node.outputs import Outputs
from hybridnet_ros.node.parameters import ParameterError, declare, unknown_parameter, updated
from hybridnet_ros.node.pipeline import Pipeline
from hybridnet_ros.node.worker import Worker

_WATCH_PERIOD_S = 0.25
_CLOCKS_APART_MS = 10_000.0

_Transition = Callable[[LifecycleState], TransitionCallbackReturn]


class PerceptionNode(LifecycleNode):
    """Managed node `hybridnet`.

    Subscribes: `image` (sensor_msgs/Image) or `image/compressed` (CompressedImage), `camera_info` (CameraInfo). The
    last two are looked for beside wherever `image` is remapped to, unless they are remapped themselves.

    Publishes, with the stamp, frame_id and size of the image: `~/depth/image`, `~/depth/camera_info`,
    `~/segmentation/mask`, `~/segmentation/confidence`, `~/segmentation/camera_info`, `~/segmentation/color`,
    `~/depth/color`, `~/points`; besides, `~/segmentation/label_info` (latched) and `/diagnostics`.

    Parameters: see parameters.py.
    """

    def __init__(self, **kwargs: Any) -> None:
        """An unconfigured node; raises ParameterError for parameters it cannot start with."""
        super().__init__("hybridnet", **kwargs)
        self._settings = declare(self)
        self._warn_of_unknown_parameters()
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._refuse_wrong_transitions()

        self._health = Health()
        self._infos = CameraInfos()
        self._worker: Worker | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._runtime = ""

        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady timers: with simulated time paused, a person must still be told so.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self._settings.diagnostics_period, self._publish_diagnostics, clock=steady)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True),
            post_callback=self._on_time_jump,
        )

    @property
    def autostart(self) -> bool:
        """Whether the node is to configure and activate itself."""
        return self._settings.autostart

    def start(self) -> None:
        """Configures and activates; when that fails the node stays as it is, says why and can be asked again."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()
            return
        name = self.get_fully_qualified_name()
        self.get_logger().error(
            "the node is up but not configured; set what is wrong, then: "
            f"ros2 lifecycle set {name} configure && ros2 lifecycle set {name} activate"
        )

    def finish(self) -> None:
        """Shuts down from whatever state the node is in, with the engine freed."""
        if self._state_label() in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the engine and creates the publishers."""
        return self._transition(self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and lets the worker answer frames."""
        return self._transition(self._activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finishes the frame in work and unsubscribes."""
        return self._transition(self._deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the engine."""
        return self._transition(self._release, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops from any state."""
        return self._transition(self._release, super().on_shutdown, state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goes back to unconfigured, with everything freed."""
        return self._transition(self._release, super().on_error, state)

    def _transition(
        self, act: Callable[[], None], of_entities: _Transition, state: LifecycleState
    ) -> TransitionCallbackReturn:
        """Runs `act`; rclpy itself would swallow what it raises without a word."""
        try:
            act()
        except EngineError as error:
            self._release()
            self._health.trouble("engine", Level.ERROR, f"cannot configure: {error}")
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # a transition must leave a defined state behind, whatever happens in it
            text = f"{act.__name__.strip('_')} failed: {type(error).__name__}: {error}"
            self._health.trouble("engine", Level.ERROR, text)
            self.get_logger().error(text)
            return TransitionCallbackReturn.ERROR
        return of_entities(state)

    def _configure(self) -> None:
        settings = self._settings
        self.get_logger().info(f"opening engine '{settings.engine}'")
        self._worker = Worker(partial(open_engine, settings.engine, settings.runtime, settings.threads or None))
        engine = self._worker.engine()
        self._outputs = Outputs(self, engine.manifest.labels, self._on_incompatible_subscriber)
        self._runtime = engine.description
        self._health.clear_trouble("engine")
        process.freeze_garbage_collector()

    def _activate(self) -> None:
        assert self._worker is not None and self._outputs is not None, "configure comes first"
        settings, engine = self._settings, self._worker.engine()
        self._health.clear_trouble("engine")
        self._infos.clear()
        self._outputs.publish_labels(settings.min_confidence)
        self._inputs = Inputs(self, settings.input_transport, self._infos, self._health, self._on_frame)
        self._worker.attach(
            Pipeline(
                engine,
                self._inputs,
                self._infos,
                self._outputs,
                self._health,
                settings=lambda: self._settings,
                now_ns=lambda: self.get_clock().now().nanoseconds,
                log=self.get_logger(),
                on_failing=self._on_failing,
            ).process
        )
        self.get_logger().info(
            f"listening on {self._inputs.listening_to()} and {self._inputs.info_topic}, runs {engine.description}"
        )

    def _deactivate(self) -> None:
        if self._inputs is not None:
            self._inputs.destroy()
            self._inputs = None
        if self._worker is not None and self._worker.detach() is not None:
            self._health.dropped(Drop.STOPPED)
        self._health.start_afresh()

    def _release(self) -> None:
        self._deactivate()
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error("the worker does not end: the inference in work does not return")
        self._worker = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        self._runtime = ""

    # Frames

    def _on_frame(self, frame: Frame) -> None:
        """Called in the executor thread for each image."""
        assert self._worker is not None
        self._health.received(frame)
        if self._worker.mailbox.put(frame) is not None:
            self._health.dropped(Drop.REPLACED)

    def _on_failing(self, reason: str) -> None:
        """Called in the worker thread, which cannot deactivate the node that waits for it."""
        assert self.executor is not None
        self.executor.create_task(self._give_up, reason)

    def _give_up(self, reason: str) -> None:
        if self._inputs is None:
            return
        self.trigger_deactivate()
        text = f"deactivated: {reason}; activate the node to try again"
        self._health.trouble("engine", Level.ERROR, text)
        self.get_logger().error(text)

    # What people are told

    def _watch(self) -> None:
        if self._inputs is None:
            return
        self._inputs.watch(self._settings.image_timeout)
        age_ms = self._health.input_age_ms()
        if age_ms is None or abs(age_ms) < _CLOCKS_APART_MS:
            self._health.clear_trouble("clock")
        elif not self._health.has_trouble("clock"):
            text = (
                f"image stamps are {abs(age_ms) * 1e-3:.0f} s {'behind' if age_ms > 0 else 'ahead of'} "
                "this node's clock, so that ages mean nothing: play bags with --clock and set use_sim_time, "
                "or synchronise the clocks"
            )
            self._health.trouble("clock", Level.WARN, text)
            self.get_logger().warning(text)

    def _publish_diagnostics(self) -> None:
        troubles = self._health.troubles()
        state = self._state_label()
        worker, inputs, outputs = self._worker, self._inputs, self._outputs
        idle = inputs is not None and outputs is not None and not outputs.wanted()
        status = DiagnosticStatus(
            name=f"{self.get_fully_qualified_name()}: perception",
            hardware_id=self._settings.engine,
            level=bytes([troubles[0].level if troubles else Level.OK]),
            message="; ".join(trouble.text for trouble in troubles) or (f"{state}, no subscriber" if idle else state),
        )
        values = [("state", state), ("input topic", inputs.listening_to() if inputs else "none")]
        values += self._health.values()
        if worker is not None and self._runtime:
            manifest = worker.engine().manifest
            values += [
                ("network", manifest.network),
                ("runtime", self._runtime),
                ("engine sha256", manifest.onnx_sha256[:12]),
            ]
        status.values = [KeyValue(key=key, value=value) for key, value in values]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _on_incompatible_subscriber(self, topic: str, policy: str) -> None:
        text = f"a subscriber on {topic} cannot hear us: its QoS policy {policy} is incompatible with ours"
        if self._health.trouble(f"QoS {topic}", Level.WARN, text):
            self.get_logger().warning(text)

    def _on_time_jump(self, jump: TimeJump) -> None:
        self._health.forget_ages()
        self.get_logger().info("the ROS clock jumped (another clock source, or a bag that started again)")

    # Parameters and services

    def _on_set_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        changes = [(parameter.name, parameter.value) for parameter in parameters]
        before = self._settings.min_confidence
        try:
            self._settings = updated(self._settings, changes, active=self._inputs is not None)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._outputs is not None and self._settings.min_confidence != before:
            self._outputs.publish_labels(self._settings.min_confidence)
        return SetParametersResult(successful=True)

    def _warn_of_unknown_parameters(self) -> None:
        # rclpy has no public way to ask for what was set but not declared.
        for name in getattr(self, "_parameter_overrides", {}):
            text = unknown_parameter(name)
            if text is not None:
                self.get_logger().warning(text)

    def _state_label(self) -> str:
        return str(self._state_machine.current_state[1])

    def _refuse_wrong_transitions(self) -> None:
        """Answers a transition that the state does not allow with a refusal; rclpy lets it end the process."""
        service = self._service_change_state
        change_state = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except RuntimeError as error:  # rclpy's RCLError
                wanted = request.transition.label or request.transition.id
                self.get_logger().warning(f"transition {wanted} refused in state {self._state_label()}: {error}")
                response.success = False
                return response

        service.callback = answer
