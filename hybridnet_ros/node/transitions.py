"""Lifecycle transitions that a state does not allow are answered with a refusal."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode


def state_label(node: LifecycleNode) -> str:
    """The lifecycle state of `node`, such as "active"."""
    return str(node._state_machine.current_state[1])


def refuse_wrong_transitions(node: LifecycleNode) -> None:
    """Answers a transition that the state does not allow with a refusal; rclpy lets it end the process."""
    service = node._service_change_state
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # rclpy's RCLError
            wanted = request.transition.label or request.transition.id
            node.get_logger().warning(f"transition {wanted} refused in state {state_label(node)}: {error}")
            response.success = False
            return response

    service.callback = answer
