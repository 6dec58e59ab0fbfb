"""The whole loss: the paper's against Caffe's formulas, learnt weights, and what a missing truth does."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from training.config import NETWORKS, NetworkConfig, PaperLossConfig, WeightedLossConfig
from training.losses import Known, berhu_loss, class_weights, label_loss, layers_loss, ohem_loss
from training.networks import HybridNet, NetworkOutput, build_network
from training.networks.depth_code import DepthCode
from training.objective import Objective, PaperObjective, build_objective

SCALE = 80.0


def caffe_softmax_loss(scores: NDArray, labels: NDArray) -> float:
    """SoftmaxWithLoss, ignore_label 255, normalization VALID."""
    total, count = 0.0, 0
    for n, y, x in np.ndindex(labels.shape):
        if labels[n, y, x] != 255:
            z = scores[n, :, y, x] - scores[n, :, y, x].max()
            total -= np.log(np.exp(z[labels[n, y, x]]) / np.exp(z).sum())
            count += 1
    return total / count


def caffe_euclidean_loss(a: NDArray, b: NDArray) -> float:
    """EuclideanLoss: dot / num / 2; what is invalid is left out of both."""
    return float(np.nansum((a - b) ** 2) / len(a) / 2)


def caffe_mvn(maps: NDArray) -> NDArray:
    """MVN with normalize_variance, eps 1e-3, an image at a time, over its valid (not NaN) pixels."""
    result = np.empty_like(maps)
    for n, image in enumerate(maps):
        mean = np.nanmean(image)
        deviation = np.sqrt(np.nanmean(image**2) - mean**2)
        result[n] = (image - mean) / (deviation + 1e-3)
    return result


@pytest.mark.parametrize("kind", ["linear", "log"])
def test_the_papers_loss_is_caffes(kind: str) -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(3, 5, 8, 12)), rng.integers(0, 5, (3, 16, 24)).astype(np.uint8)
    labels[:, :3] = 255
    metres = rng.uniform(1, 60, (3, 16, 24)).astype(np.float32)
    metres[0, 5:9] = np.nan
    predicted = rng.uniform(0.05, 0.9, (3, 8, 12))
    coded = predicted if kind == "linear" else np.log(predicted * SCALE)

    # The truth as Caffe sees it: scaled, at the network's resolution, and the same pixels valid in both maps.
    truth = metres[:, ::2, ::2].astype(float) / SCALE
    valid = np.where(np.isfinite(truth), predicted, np.nan)
    doubled = torch.nn.functional.interpolate(torch.tensor(scores), scale_factor=2.0, mode="bilinear").numpy()
    labels_part = caffe_softmax_loss(doubled, labels)
    linear_part = caffe_euclidean_loss(valid, truth)
    normalised_part = caffe_euclidean_loss(caffe_mvn(valid), caffe_mvn(truth))
    expected = 1000 * labels_part + linear_part + normalised_part

    output = NetworkOutput(torch.tensor(coded)[:, None], torch.tensor(scores))
    truths = torch.tensor(labels), torch.tensor(metres)
    code = DepthCode(kind, SCALE)  # type: ignore[arg-type]
    caffe = PaperObjective(PaperLossConfig(kind="paper", reduction="caffe"), code)(output, *truths)
    assert caffe["labels"].item() == pytest.approx(labels_part, rel=1e-5)
    assert caffe["depth"].item() == pytest.approx(linear_part, rel=1e-4)
    assert caffe["normalised_depth"].item() == pytest.approx(normalised_part, rel=1e-4)
    assert caffe["total"].item() == pytest.approx(expected, rel=1e-5)
    mean = PaperObjective(PaperLossConfig(kind="paper"), code)(output, *truths)
    assert mean["total"].item() == pytest.approx(expected / (8 * 12), rel=1e-5)


def test_the_mean_reduction_is_the_papers_weights() -> None:
    """(alpha / n) * CE + 0.5 * mean((D - D')^2) + 0.5 * mean((N(D) - N(D'))^2); alpha / n is 0.156 at 80x80."""
    torch.manual_seed(0)
    output = NetworkOutput(torch.rand(2, 1, 80, 80), torch.randn(2, 3, 40, 40))
    labels, metres = torch.randint(0, 3, (2, 160, 160), dtype=torch.uint8), torch.rand(2, 160, 160) * 60 + 1
    parts = PaperObjective(PaperLossConfig(kind="paper"), DepthCode("linear", SCALE))(output, labels, metres)
    n = 80 * 80
    expected = 0.15625 * parts["labels"] + parts["depth"] / n + parts["normalised_depth"] / n
    torch.testing.assert_close(parts["total"], expected)
    difference = output.depth[:, 0] - metres[:, ::2, ::2] / SCALE
    torch.testing.assert_close(parts["depth"] / n, 0.5 * difference.square().mean())
    # Labels alone, the baseline, learn at the same rate.
    objective = PaperObjective(PaperLossConfig(kind="paper"), DepthCode("linear", SCALE))
    alone = objective(NetworkOutput(None, output.scores), labels, metres)
    torch.testing.assert_close(alone["total"], 0.15625 * parts["labels"])


def test_a_coarse_depth_map_is_compared_with_the_middle_of_its_cells() -> None:
    rows = torch.arange(40.0).expand(1, 40, 40) + 1
    coarse = torch.nn.functional.avg_pool2d(rows[:, None], 4) / SCALE
    labels = torch.full((1, 40, 40), 255, dtype=torch.uint8)
    parts = PaperObjective(PaperLossConfig(kind="paper"), DepthCode("linear", SCALE))(
        NetworkOutput(coarse, None), labels, rows
    )
    # There is no cell in the middle of four: the nearest is half a cell away.
    torch.testing.assert_close(parts["depth"], torch.tensor(0.5 * 100 * (0.5 / SCALE) ** 2))


def test_images_with_hardly_any_depth_are_not_normalised() -> None:
    truth = torch.full((1, 40, 40), torch.nan)
    truth[0, 0, :30:2] = 5.0
    output = NetworkOutput(torch.rand(1, 1, 20, 20, requires_grad=True), None)
    objective = PaperObjective(PaperLossConfig(kind="paper"), DepthCode("linear", SCALE))
    truth[0, 0, 6:] = torch.nan  # three of four hundred pixels
    parts = objective(output, torch.full((1, 40, 40), 255, dtype=torch.uint8), truth)
    assert parts["normalised_depth"] == 0 and parts["depth"] > 0
    parts["total"].backward()
    assert torch.isfinite(output.depth.grad).all()


def network(name: str = "hybridnet_vgg16") -> HybridNet:
    values = yaml.safe_load((NETWORKS / f"{name}.yaml").read_text())
    return build_network(NetworkConfig(**values, width=0.05), 5, (64, 96))


def drawn_output(requires_grad: bool = True) -> NetworkOutput:
    torch.manual_seed(0)
    shapes = ((2, 1, 16, 24), (2, 5, 8, 12), (2, 1, 8, 12))
    return NetworkOutput(*(torch.rand(shape).add(0.1).requires_grad_(requires_grad) for shape in shapes))


def objectives() -> list[tuple[str, Objective]]:
    built = network()
    configs = {
        "weighted": WeightedLossConfig(),
        "ohem": WeightedLossConfig(label_loss="ohem"),
        "berhu": WeightedLossConfig(depth_loss="berhu"),
        "uncertainty": WeightedLossConfig(uncertainty=True),
        "paper": PaperLossConfig(kind="paper"),
    }
    return [(name, build_objective(config, built)) for name, config in configs.items()]


@pytest.mark.parametrize("missing", ["labels", "depth", "both"])
@pytest.mark.parametrize(("name", "objective"), objectives(), ids=lambda value: value if isinstance(value, str) else "")
def test_missing_truth_gives_finite_losses_and_gradients(name: str, objective: Objective, missing: str) -> None:
    output = drawn_output()
    labels = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8)
    depth = torch.rand(2, 32, 48) * 50 + 1
    if missing in ("labels", "both"):
        labels[:] = 255
    if missing in ("depth", "both"):
        depth[:] = torch.nan
    objective.zero_grad()
    parts = objective(output, labels, depth)
    parts["total"].backward()
    assert all(torch.isfinite(part) for part in parts.values())
    assert (parts["labels"] == 0) == (missing in ("labels", "both"))
    assert (parts["depth"] == 0) == (missing in ("depth", "both"))
    for tensor in output:
        assert not isinstance(tensor, torch.Tensor) or tensor.grad is None or torch.isfinite(tensor.grad).all()
    if missing == "both" and name == "uncertainty":
        # A batch that says nothing about a task leaves the weight of that task alone.
        assert all(p.grad is None or (p.grad == 0).all() for p in objective.parameters())


@pytest.mark.parametrize(("name", "objective"), objectives(), ids=lambda value: value if isinstance(value, str) else "")
def test_parts_of_a_batch_add_up_to_its_loss(name: str, objective: Objective) -> None:
    """However unevenly the truth lies in them. What is hard, and BerHu's bend, each part finds for itself."""
    torch.manual_seed(3)
    labels, depth = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    labels[0, :20], labels[1, 30:], depth[0, 5:], depth[1, :3] = 255, 255, torch.nan, torch.nan
    weights = None if name == "paper" else torch.tensor([0.5, 1.0, 2.0, 1.5, 0.7])
    output = drawn_output()
    whole = objective(output, labels, depth, weights)
    known = [Known.of(labels[i : i + 1], depth[i : i + 1], weights).counts for i in range(2)]
    together = Known(known[0] + known[1])
    parts = [
        objective(
            NetworkOutput(*(x[i : i + 1] if isinstance(x, torch.Tensor) else x for x in output)),
            labels[i : i + 1],
            depth[i : i + 1],
            weights,
            together,
        )
        for i in range(2)
    ]
    exact = {"labels", "depth", "normalised_depth", "gradient", "global_depth", "layers", "total"}
    exact -= {"ohem": {"labels", "total"}, "berhu": {"depth", "global_depth", "total"}}.get(name, set())
    assert exact & set(whole)
    for part in exact & set(whole):
        torch.testing.assert_close(parts[0][part] + parts[1][part], whole[part], rtol=1e-5, atol=1e-6)


def test_weights_make_the_total() -> None:
    labels, depth = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    config = WeightedLossConfig(labels=2.0, depth=3.0, global_depth=0.25, gradient=0.1)
    parts = build_objective(config, network())(drawn_output(False), labels, depth)
    expected = 2 * parts["labels"] + 3 * (parts["depth"] + 0.1 * parts["gradient"]) + 0.25 * parts["global_depth"]
    torch.testing.assert_close(parts["total"], expected)


def test_learnt_weights_are_kendalls_and_are_learnt() -> None:
    labels, depth = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    fixed = build_objective(WeightedLossConfig(), network())(drawn_output(False), labels, depth)
    label_part = fixed["labels"]
    depth_part = fixed["total"] - label_part
    objective = build_objective(WeightedLossConfig(uncertainty=True), network())
    with torch.no_grad():
        objective.log_variance.copy_(torch.tensor([0.5, -7.0]))
    parts = objective(drawn_output(False), labels, depth)
    # The second is held at -4.
    expected = depth_part / (2 * np.exp(0.5)) + 0.25 + label_part / np.exp(-4.0) - 2.0
    torch.testing.assert_close(parts["total"], expected.float(), rtol=1e-5, atol=1e-5)
    parts["total"].backward()
    assert objective.log_variance.grad[0] != 0


def test_networks_of_one_task_are_not_asked_for_the_other() -> None:
    labels, depth = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    image = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    for config in (WeightedLossConfig(), WeightedLossConfig(uncertainty=True), PaperLossConfig(kind="paper")):
        for name, names in (("deeplab_aspp", {"labels"}), ("depthnet", {"depth"}), ("pledl", {"labels", "depth"})):
            built = network(name)
            parts = build_objective(config, built)(built(image), labels, depth)
            assert {part for part in parts if part in ("labels", "depth")} == names
            parts["total"].backward()


def test_ohem_counts_the_hard_pixels_only() -> None:
    torch.manual_seed(0)
    scores, labels = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8), dtype=torch.uint8)
    labels[0, :2] = 255
    known = labels != 255
    losses = torch.nn.functional.cross_entropy(scores, labels.long(), ignore_index=255, reduction="none")[known]
    probability = torch.exp(-losses)
    expected = losses[probability <= 0.3].mean()
    torch.testing.assert_close(ohem_loss(scores, labels, 0.3, 0.01), expected)
    # So sure of everything that too few are hard: the hardest quarter.
    hardest = losses.sort(descending=True).values[: round(0.25 * len(losses))].mean()
    torch.testing.assert_close(ohem_loss(scores, labels, 1e-6, 0.25), hardest)
    torch.testing.assert_close(ohem_loss(scores, labels, 1.0, 0.25), label_loss(scores, labels))
    assert ohem_loss(scores, torch.full_like(labels, 255), 0.7, 0.1) == 0


def test_berhu_is_the_formula() -> None:
    difference = torch.tensor([[[0.1, -0.2, 1.0, -2.0, 7.0]]])
    valid = torch.tensor([[[True, True, True, True, False]]])
    c = 0.4
    expected = (0.1 + 0.2 + (1 + c * c) / (2 * c) + (4 + c * c) / (2 * c)) / 4
    assert berhu_loss(difference, torch.zeros_like(difference), valid).item() == pytest.approx(expected)


def test_depth_layers_are_classes_of_log_depth() -> None:
    built = network("pledl")
    refining = built.refining_depth
    truth = refining.nearest + refining.spacing * torch.tensor([[[0.0, 3.0, 18.0, 30.0]]])
    scores = torch.full((1, 19, 1, 4), -20.0)
    for x, layer in enumerate((0, 3, 18, 18)):  # what is beyond the last layer is in the last
        scores[0, layer, 0, x] = 20.0
    valid = torch.ones(1, 1, 4, dtype=torch.bool)
    assert layers_loss(scores, truth, valid, refining.nearest, refining.spacing).item() < 1e-6
    centres = refining.centres.flatten()
    assert torch.exp(centres[[0, -1]]).tolist() == pytest.approx([1.0, 100.0], rel=1e-4)


def test_layers_that_weigh_nothing_are_left_out() -> None:
    config = NetworkConfig(refining_depth="light_layers", global_depth=None, depth_layers=7)
    built = build_network(config, 5, (64, 96))
    labels, depth = torch.randint(0, 5, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    output = built(torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8))
    with_layers = build_objective(WeightedLossConfig(depth_layers=0.5), built)(output, labels, depth)
    without = build_objective(WeightedLossConfig(depth_layers=0), built)(output, labels, depth)
    assert "layers" not in without
    torch.testing.assert_close(with_layers["total"], without["total"] + 0.5 * with_layers["layers"])
    assert with_layers["layers"].item() == pytest.approx(np.log(7), rel=1e-4)  # before anything is learnt


def test_linear_depth_has_a_logarithm_everywhere() -> None:
    code = DepthCode("linear", SCALE)
    x = torch.linspace(-0.5, 1.5, 4001, dtype=torch.float64, requires_grad=True)
    log = code.to_log(x)
    (slope,) = torch.autograd.grad(log.sum(), x)
    assert torch.isfinite(log).all() and (log.diff() > 0).all() and torch.isfinite(slope).all() and (slope > 0).all()
    torch.testing.assert_close(torch.exp(log[x > 0.002]), x[x > 0.002] * SCALE)
    assert code.encode(40.0) == 0.5 and DepthCode("log", SCALE).encode(1.0) == 0
    for kind, coded in (("linear", 0.5), ("log", np.log(40.0))):
        metres = DepthCode(kind, SCALE).to_metres(torch.tensor(coded), 0.5, 200.0)  # type: ignore[arg-type]
        assert metres.item() == pytest.approx(40.0, rel=1e-5)


def test_scores_learnt_under_class_weights_are_of_the_world_as_it_is() -> None:
    """What no image tells apart is best given the classes' own shares, however the loss weighs the classes."""
    shares = [0.9, 0.08, 0.02]
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor([90, 8, 2])).byte().reshape(1, 10, 10)
    objective = build_objective(WeightedLossConfig(depth=0), build_network(NetworkConfig(), 3, (64, 64)))
    scores, weights = torch.zeros(3, requires_grad=True), class_weights(shares, 0.5)
    optimiser = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        same = NetworkOutput(None, scores[None, :, None, None].expand(1, 3, 5, 5))
        total = objective(same, labels, torch.full((1, 10, 10), torch.nan), weights)["total"]
        total.backward()
        return total

    optimiser.step(loss)
    torch.testing.assert_close(scores.softmax(0).detach(), torch.tensor(shares), atol=2e-3, rtol=0)


def test_the_shipped_recipe_reads_as_before() -> None:
    path = Path(__file__).parents[2] / "training" / "configs" / "driving.yaml"
    assert WeightedLossConfig(**yaml.safe_load(path.read_text())["loss"]).label_balance == 0.4
