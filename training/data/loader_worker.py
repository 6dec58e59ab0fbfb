"""What the processes that load data do first."""

import signal

import cv2


def keep_out_of_the_way(worker: int) -> None:
    """Leave the cores and the signals to the process that trains."""
    # A worker is a process of its own: OpenCV's threads in each would only get in one another's way.
    cv2.setNumThreads(0)
    # Ctrl-C and a cluster's SIGTERM reach every process of a run; the main process ends it in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
