"""Plugin of the checks: each begins with a GPU that works, and must leave nothing on it."""

import gc

import pytest
import stand_in


@pytest.fixture(autouse=True)
def nothing_is_left_on_the_gpu():
    stand_in.fail()
    stand_in.Context.none_left = stand_in.Context.broken = False
    stand_in.Context.made.clear()
    yield
    stand_in.fail()
    gc.collect()
    assert stand_in.counts() == dict.fromkeys(stand_in.COUNTS, 0)
