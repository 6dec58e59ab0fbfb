"""Notices an engine that does not return from a frame, and says so; that it came back, too."""

from __future__ import annotations

from typing import Any

from hybridnet_ros.node.troubles import Level, Troubles
from hybridnet_ros.node.worker import Worker

_TROUBLE = "stuck"


class Watchdog:
    """Asked a few times a second, in the executor thread, which no engine can block."""

    def __init__(self, troubles: Troubles, log: Any) -> None:
        """A watchdog that notes what it finds among `troubles`."""
        self._troubles = troubles
        self._log = log
        self._reported_s = 0.0  # the timeout that was passed when the engine was last reported

    def check(self, worker: Worker | None, inference_timeout: float) -> None:
        """Looks at the frame in work; `inference_timeout` in seconds, 0 looks away."""
        busy_s = 0.0 if worker is None else worker.busy_s()
        if inference_timeout and busy_s > inference_timeout:
            if not self._troubles.has_trouble(_TROUBLE):
                self._reported_s = inference_timeout
                text = (
                    f"the engine has not returned from a frame for {inference_timeout:g} s: every newer frame is "
                    "dropped until it does; if it does not, clean the node up and configure it again"
                )
                self._troubles.trouble(_TROUBLE, Level.ERROR, text)
                self._log.error(text)
        elif self._troubles.clear_trouble(_TROUBLE):
            if worker is None:
                self._log.info("the engine that hung is left behind")
            elif busy_s < self._reported_s:
                self._log.info("the engine that did not return is back")
            else:
                self._log.info("the engine has not returned; inference_timeout was changed, and allows it that now")
