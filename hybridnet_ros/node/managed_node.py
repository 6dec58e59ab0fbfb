"""The managed node: its lifecycle, and how the parts of this room are put together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from hybridnet_ros.engine import EngineError
from hybridnet_ros.engine.engine import find_engine
from hybridnet_ros.engine.stand_in import NAME as STAND_IN
from hybridnet_ros.node.camera import Camera
from hybridnet_ros.node.diagnostics import statuses
from hybridnet_ros.node.engine_keeper import Choice, EngineKeeper
from hybridnet_ros.node.health import Drop
from hybridnet_ros.node.names import named_cameras
from hybridnet_ros.node.parameters import ParameterError, declare, unknown_parameter, updated
from hybridnet_ros.node.pipeline import GPU_BATCH, Pipeline
from hybridnet_ros.node.transitions import refuse_wrong_transitions, state_label
from hybridnet_ros.node.troubles import Level, Troubles
from hybridnet_ros.node.watchdog import Watchdog

_WATCH_PERIOD_S = 0.25

_Transition = Callable[[LifecycleState], TransitionCallbackReturn]


class PerceptionNode(LifecycleNode):
    """Managed node `hybridnet`.

    Subscribes: `image` (sensor_msgs/Image) or `image/compressed` (CompressedImage), `camera_info` (CameraInfo). The
    last two are looked for beside wherever `image` is remapped to, unless they are remapped themselves.

    Publishes, with the stamp, frame_id and size of the image: `~/depth/image`, `~/depth/camera_info`,
    `~/segmentation/mask`, `~/segmentation/confidence`, `~/segmentation/camera_info`, `~/segmentation/color`,
    `~/depth/color`, `~/points`; besides, `~/segmentation/label_info` (latched) and `/diagnostics`.

    With several cameras (parameter `cameras`) each has all of these in a folder of its own: `front/image`,
    `~/front/depth/image` and so on.

    Parameters: see parameters.py.
    """

    def __init__(self, **kwargs: Any) -> None:
        """An unconfigured node; raises ParameterError for parameters it cannot start with."""
        super().__init__("hybridnet", **kwargs)
        self._settings = declare(self)
        self._warn_of_unknown_parameters()
        self.add_on_set_parameters_callback(self._on_set_parameters)
        refuse_wrong_transitions(self)

        self._troubles = Troubles()
        self._watchdog = Watchdog(self._troubles, self.get_logger())
        self._cameras = self._make_cameras()
        self._keeper: EngineKeeper | None = None
        self._active = False
        self._telling_labels = threading.Lock()

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
        if state_label(self) in ("unconfigured", "inactive", "active"):
            self.trigger_shutdown()

    # Transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Opens the engine and creates the publishers."""
        return self._transition(self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enables the publishers, subscribes and lets the worker answer frames."""
        return self._transition(self._activate, super().on_activate, state, entities_first=True)

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
        self, act: Callable[[], None], of_entities: _Transition, state: LifecycleState, entities_first: bool = False
    ) -> TransitionCallbackReturn:
        """Runs `act` and what rclpy does; rclpy itself would swallow what `act` raises without a word."""
        try:
            if entities_first:
                of_entities(state)
            act()
        except EngineError as error:
            self._release()
            self._troubles.trouble("engine", Level.ERROR, f"cannot configure: {error}")
            self.get_logger().error(f"cannot configure: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # a transition must leave a defined state behind, whatever happens in it
            text = f"{act.__name__.strip('_')} failed: {type(error).__name__}: {error}"
            self._troubles.trouble("engine", Level.ERROR, text)
            self.get_logger().error(text)
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS if entities_first else of_entities(state)

    def _configure(self) -> None:
        self._keeper = EngineKeeper(
            Choice.of(self._settings), self._troubles, self.get_logger(), self._publish_labels, self._on_engine_refused
        )
        if [camera.names for camera in self._cameras.values()] != named_cameras(self._settings.cameras):
            self._cameras = self._make_cameras()
        for camera in self._cameras.values():
            camera.outputs.choose(self._settings.outputs, active=False)
        self._troubles.clear_trouble("engine")

    def _activate(self) -> None:
        assert self._keeper is not None, "configure comes first"
        worker = self._keeper.worker
        self._troubles.clear_trouble("engine")
        self._active = True
        self._publish_labels()  # before the first answer
        for camera in self._cameras.values():
            camera.subscribe(worker.mailbox)
        worker.attach(
            Pipeline(
                self._cameras,
                settings=lambda: self._settings,
                now_ns=lambda: self.get_clock().now().nanoseconds,
                log=self.get_logger(),
                on_failing=self._on_failing,
            )
        )
        topics = " and ".join(
            f"{camera.inputs.listening_to()} and {camera.inputs.info_topic}"
            for camera in self._cameras.values()
            if camera.inputs is not None
        )
        self.get_logger().info(f"listening on {topics}, runs {worker.engine().description}")

    def _deactivate(self) -> None:
        for camera in self._cameras.values():
            camera.unsubscribe()
        if self._keeper is not None:
            for frame in self._keeper.worker.detach():
                self._cameras[frame.camera].health.dropped(Drop.STOPPED)
        self._active = False
        for camera in self._cameras.values():
            camera.health.start_afresh()  # now, for the frame in work may have told it something
        self._troubles.keep_lasting()

    def _release(self) -> None:
        self._deactivate()
        if self._keeper is not None and not self._keeper.stop():
            self.get_logger().error(
                "the engine does not return, and is left behind: its memory is not freed until it does"
            )
        self._keeper = None
        for camera in self._cameras.values():
            camera.outputs.destroy()

    def _make_cameras(self) -> dict[str, Camera]:
        names = named_cameras(self._settings.cameras)
        return {one.name: Camera(self, one, lambda: self._settings) for one in names}

    # What the worker tells

    def _on_failing(self, reason: str) -> None:
        """Called in the worker thread, which cannot deactivate the node that waits for it."""
        assert self.executor is not None
        self.executor.create_task(self._give_up, reason)

    def _give_up(self, reason: str) -> None:
        if not self._active:
            return
        self.trigger_deactivate()
        text = f"deactivated: {reason}; activate the node to try again"
        self._troubles.trouble("engine", Level.ERROR, text)
        self.get_logger().error(text)

    def _on_engine_refused(self, refused: Choice, running: Choice) -> None:
        """Called in a worker thread; parameters are set in the executor's."""

        def tell_the_truth() -> None:
            if Choice.of(self._settings) == refused:
                # Together: one by one, each would open an engine that nobody asked for.
                self.set_parameters_atomically([Parameter(name, value=value) for name, value in vars(running).items()])

        assert self.executor is not None
        self.executor.create_task(tell_the_truth)

    # What people are told

    def _publish_labels(self) -> None:
        """Called in the executor's thread, and in that of an engine that takes over: the last one must be right."""
        assert self._keeper is not None
        with self._telling_labels:
            classes = self._keeper.worker.engine().manifest.labels
            for camera in self._cameras.values():
                camera.outputs.publish_labels(classes, self._settings.min_confidence)

    def _watch(self) -> None:
        self._watchdog.check(self._keeper.worker if self._keeper else None, self._settings.inference_timeout)
        for camera in self._cameras.values():
            camera.watch()
        if self._keeper is not None and self._active:
            sizes = {camera.size for camera in self._cameras.values() if camera.size is not None}
            self._keeper.serve(sizes, min(len(self._cameras), self._settings.max_batch or GPU_BATCH))

    def _publish_diagnostics(self) -> None:
        for camera in self._cameras.values():
            camera.watch()  # or the first answers of a camera whose clock is apart would be judged by their age
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = statuses(
            self.get_fully_qualified_name(),
            state_label(self),
            self._settings,
            self._troubles,
            self._keeper,
            list(self._cameras.values()),
        )
        self._diagnostics.publish(message)

    def _on_time_jump(self, jump: TimeJump) -> None:
        for camera in self._cameras.values():
            camera.health.forget_ages()
        self.get_logger().info("the ROS clock jumped (another clock source, or a bag that started again)")

    # Parameters and services

    def _on_set_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        before = self._settings
        try:
            changes = [(parameter.name, parameter.value) for parameter in parameters]
            settings = updated(before, changes, active=self._active)
            if self._keeper is not None and settings.engine != STAND_IN and Choice.of(settings) != Choice.of(before):
                find_engine(settings.engine)
        except (ParameterError, EngineError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._keeper is not None and settings.outputs != before.outputs:
            try:
                for camera in self._cameras.values():
                    camera.outputs.choose(settings.outputs, self._active)
            except Exception as error:  # rclpy's, of a qos_overrides that is none
                for camera in self._cameras.values():
                    camera.outputs.choose(before.outputs, self._active)
                return SetParametersResult(successful=False, reason=f"an output cannot be published: {error}")
        self._settings = settings
        if self._keeper is None:
            return SetParametersResult(successful=True)
        if (settings.outputs, settings.min_confidence) != (before.outputs, before.min_confidence):
            self._publish_labels()
        self._keeper.change(Choice.of(settings))
        return SetParametersResult(successful=True)

    def _warn_of_unknown_parameters(self) -> None:
        # rclpy has no public way to ask for what was set but not declared.
        for name in getattr(self, "_parameter_overrides", {}):
            text = unknown_parameter(name)
            if text is not None:
                self.get_logger().warning(text)
