"""Depth scores against a second implementation, pixel by pixel from the formulas, in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybridnet_ros.scene.metrics import DepthMetrics, MetricsError

depths = st.floats(0.0625, 200, width=32)
not_depths = st.sampled_from([0.0, -1.0, math.nan, math.inf, -math.inf])
pixels = st.tuples(st.one_of(depths, not_depths), st.one_of(depths, not_depths))  # prediction, truth
images = st.lists(pixels, min_size=1, max_size=40)
caps = st.sampled_from([None, 80.0, 10.0])


def by_the_formulas(pairs: list[tuple[float, float]], cap: float | None, minimum: float = 1e-3) -> dict[str, float]:
    """The figures of a list of (prediction, truth)."""
    rows, missing = [], 0
    for prediction, truth in pairs:
        if not (math.isfinite(truth) and truth > 0) or (cap is not None and truth > cap):
            continue
        if math.isnan(prediction) or (prediction == math.inf and cap is None):
            missing += 1
            continue
        prediction = max(prediction, minimum) if cap is None else min(max(prediction, minimum), cap)
        rows.append((prediction, truth))
    count = len(rows)
    if not count:
        return {"pixels": 0, "missing": missing}

    def mean(values):
        return math.fsum(values) / count

    logs = [math.log(p) - math.log(y) for p, y in rows]
    log_mean = mean(logs)
    si_var = mean((d - log_mean) ** 2 for d in logs)
    return {
        **{f"delta{k}": mean(max(p / y, y / p) < 1.25**k for p, y in rows) for k in (1, 2, 3)},
        "abs_rel": mean(abs(p - y) / y for p, y in rows),
        "sq_rel": mean((p - y) ** 2 / y for p, y in rows),
        "rmse": math.sqrt(mean((p - y) ** 2 for p, y in rows)),
        "rmse_log": math.sqrt(mean(d * d for d in logs)),
        "si_log": math.sqrt(si_var),
        "si_var": si_var,
        "pixels": count,
        "missing": missing,
    }


def as_arrays(image: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.array(image, np.float32).T
    return prediction, truth


def assert_same(found: dict[str, float], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        # The rooted scale-invariant error of equal ratios is rounding only, about the root of a float64's precision.
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-6 if name == "si_log" else 1e-12), name


@given(st.lists(images, min_size=1, max_size=4), caps)
def test_pooled_figures_follow_the_formulas(cases, cap):
    metrics = DepthMetrics(cap)
    for image in cases:
        metrics.add(*as_arrays(image))
    assert_same(metrics.pooled(), by_the_formulas([pair for image in cases for pair in image], cap))


@given(st.lists(images, min_size=1, max_size=4), caps)
def test_per_image_figures_are_means_over_the_images_that_have_truth(cases, cap):
    metrics = DepthMetrics(cap)
    for image in cases:
        metrics.add(*as_arrays(image))
    each = [by_the_formulas(image, cap) for image in cases]
    measured = [figures for figures in each if figures["pixels"]]
    found = metrics.per_image()
    if measured:
        names = set(measured[0]) - {"pixels", "missing"}
        assert_same(found, {name: sum(f[name] for f in measured) / len(measured) for name in names})
    else:
        assert math.isnan(found["abs_rel"])
    assert found["pixels"] == sum(figures["pixels"] for figures in each)
    assert found["missing"] == sum(figures["missing"] for figures in each)


@given(images, images)
def test_merging_is_the_same_as_adding_everything_to_one(first, second):
    together, one, two = DepthMetrics(80), DepthMetrics(80), DepthMetrics(80)
    for metrics, image in ((together, first), (together, second), (one, first), (two, second)):
        metrics.add(*as_arrays(image))
    one.merge(two)
    np.testing.assert_equal(one.pooled(), together.pooled())
    np.testing.assert_equal(one.per_image(), together.per_image())


@given(st.lists(depths, min_size=1, max_size=40), st.floats(0.5, 2.0))
def test_a_wrong_scale_is_seen_by_abs_rel_and_not_by_the_scale_invariant_error(truth, scale):
    truth = np.array(truth, np.float64)
    metrics = DepthMetrics()
    metrics.add(truth * scale, truth)
    figures = metrics.pooled()
    assert figures["abs_rel"] == pytest.approx(abs(scale - 1), abs=1e-12)
    assert figures["rmse_log"] == pytest.approx(abs(math.log(scale)), abs=1e-12)
    assert figures["si_log"] == pytest.approx(0, abs=1e-6)


def test_the_keys_are_those_of_the_documentation():
    metrics = DepthMetrics()
    metrics.add(np.full((2, 3), 5, np.float32), np.full((2, 3), 5, np.float32))
    names = ["delta1", "delta2", "delta3", "abs_rel", "sq_rel", "rmse", "rmse_log", "si_log", "si_var"]
    assert list(metrics.pooled()) == list(metrics.per_image()) == [*names, "pixels", "missing"]
    assert metrics.pooled()["delta1"] == 1.0 and metrics.pooled()["pixels"] == 6


def test_without_pixels_the_figures_are_nan():
    metrics = DepthMetrics()
    metrics.add(np.ones(3, np.float32), np.zeros(3, np.float32))
    for figures in (metrics.pooled(), metrics.per_image()):
        assert math.isnan(figures["abs_rel"]) and math.isnan(figures["si_log"])
        assert figures["pixels"] == figures["missing"] == 0


def test_sky_predicted_on_a_real_surface_is_wrong_by_all_that_is_possible():
    predicted, truth = np.array([np.inf, -np.inf, np.nan, 10.0], np.float32), np.full(4, 10.0, np.float32)
    metrics = DepthMetrics(80)
    metrics.add(predicted, truth)
    figures = metrics.pooled()
    assert figures["missing"] == 1 and figures["pixels"] == 3
    assert figures["abs_rel"] == pytest.approx((7 + 0.9999) / 3) and figures["delta1"] == pytest.approx(1 / 3)
    uncapped = DepthMetrics()
    uncapped.add(predicted, truth)
    assert uncapped.pooled()["missing"] == 2, "nobody knows how wrong that is"


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MetricsError, match=r"prediction is \[2\] and the truth \[3\]"):
        DepthMetrics().add(np.ones(2), np.ones(3))
    with pytest.raises(MetricsError, match="same cap"):
        DepthMetrics(80).merge(DepthMetrics())
    with pytest.raises(MetricsError, match="minimum < cap"):
        DepthMetrics(cap=0)
