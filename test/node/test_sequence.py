"""Lost messages are counted by the gaps between their numbers."""

from __future__ import annotations

import pytest

from hybridnet_ros.node.sequence import SequenceWatch


def lost(numbers: list[int | None]) -> list[int]:
    watch = SequenceWatch()
    return [watch.lost_before(number) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, 2, 3], [0, 0, 0]),
        ([7, 8, 11, 12], [0, 0, 2, 0]),  # what was sent before the subscription was no loss
        ([100, 101, 1, 2, 4], [0, 0, 0, 0, 1]),  # the camera started again
        ([1000, 5, 1001, 6, 1003, 9], [0, 0, 0, 0, 1, 2]),  # two cameras on one topic
        ([300, *range(1, 299), 305], [0] * 299 + [6]),  # long after the camera started again
        ([None, None, 2**64 - 1], [0, 0, 0]),  # a middleware without numbers
    ],
)
def test_gaps_are_losses(numbers: list[int | None], expected: list[int]) -> None:
    assert lost(numbers) == expected


def test_a_camera_that_starts_again_and_again_costs_no_memory() -> None:
    watch = SequenceWatch()
    for _ in range(1000):
        assert [watch.lost_before(number) for number in (1, 2, 3)] == [0, 0, 0]
