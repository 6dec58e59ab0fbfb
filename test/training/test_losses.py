import numpy as np
import pytest
import torch

from training.config import LossConfig
from training.losses import JointLoss, class_weights, gradient_loss, label_loss, silog_loss
from training.networks import NetworkOutput


def test_label_loss_is_the_mean_over_labelled_pixels() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(2, 5, 4, 6)), rng.integers(0, 5, (2, 4, 6)).astype(np.uint8)
    labels[0, :2] = 255
    total, count = 0.0, 0
    for n, y, x in np.argwhere(labels != 255):
        values = scores[n, :, y, x]
        total += np.log(np.sum(np.exp(values))) - values[labels[n, y, x]]
        count += 1
    assert label_loss(torch.tensor(scores), torch.tensor(labels)).item() == pytest.approx(total / count)


def test_weighted_label_loss_and_weights() -> None:
    pixels = [900, 90, 10, 0]
    assert class_weights(pixels, 0.0) is None
    weights = class_weights(pixels, 0.5)
    assert weights is not None
    share = np.array(pixels) / 1000
    expected = np.maximum(share, 0.002) ** -0.5
    np.testing.assert_allclose(weights, expected / np.sum(share * expected), rtol=1e-6)
    scores, labels = torch.randn(1, 4, 2, 2), torch.tensor([[[0, 1], [2, 255]]], dtype=torch.uint8)
    log_probability = scores.log_softmax(1)[0]
    total = -sum(weights[c] * log_probability[c, y, x] for c, y, x in ((0, 0, 0), (1, 0, 1), (2, 1, 0)))
    torch.testing.assert_close(label_loss(scores, labels, weights), total / weights[:3].sum())
    assert label_loss(scores, torch.full_like(labels, 255), weights) == 0


def test_silog_is_the_formula_an_image_at_a_time() -> None:
    rng = np.random.default_rng(1)
    prediction, truth = rng.normal(size=(3, 8, 8)), rng.normal(size=(3, 8, 8))
    valid = rng.random((3, 8, 8)) > 0.4
    valid[1] = False
    expected = []
    for image in (0, 2):
        d = (prediction - truth)[image][valid[image]]
        expected.append(np.sqrt(np.mean(d**2) - 0.85 * np.mean(d) ** 2 + 1e-6))
    found = silog_loss(torch.tensor(prediction), torch.tensor(truth), torch.tensor(valid), 0.85)
    assert found.item() == pytest.approx(np.mean(expected))


def test_gradient_loss_sees_edges_not_offsets() -> None:
    truth = torch.zeros(1, 16, 16)
    valid = torch.ones(1, 16, 16, dtype=torch.bool)
    assert gradient_loss(truth + 3, truth, valid).item() == 0
    step = truth.clone()
    step[:, :, 8:] = 1
    assert gradient_loss(step, truth, valid).item() > 0
    # At steps of 1, 2, 4 and 8 pixels one edge of height 1 is crossed on each of the 16, 8, 4 and 2 rows.
    expected = np.mean([16 / 256, 8 / 64, 4 / 16, 2 / 4])
    assert gradient_loss(step, truth, valid).item() == pytest.approx(expected)


def _output(requires_grad: bool = True) -> NetworkOutput:
    torch.manual_seed(0)
    shapes = ((2, 1, 16, 24), (2, 19, 16, 24), (2, 1, 4, 6))
    return NetworkOutput(*(torch.randn(shape, requires_grad=requires_grad) for shape in shapes))


@pytest.mark.parametrize("missing", ["labels", "depth", "both"])
def test_missing_targets_give_finite_losses_and_gradients(missing: str) -> None:
    output = _output()
    labels = torch.randint(0, 19, (2, 32, 48), dtype=torch.uint8)
    depth = torch.rand(2, 32, 48) * 50 + 1
    if missing in ("labels", "both"):
        labels[:] = 255
    if missing in ("depth", "both"):
        depth[:] = torch.nan
    parts = JointLoss(LossConfig())(output, labels, depth)
    parts["total"].backward()
    assert all(torch.isfinite(part) for part in parts.values())
    assert (parts["labels"] == 0) == (missing in ("labels", "both"))
    assert (parts["depth"] == 0) == (missing in ("depth", "both"))
    for tensor in output:
        assert torch.isfinite(tensor.grad).all()


def test_weights_make_the_total() -> None:
    labels, depth = torch.randint(0, 19, (2, 32, 48), dtype=torch.uint8), torch.rand(2, 32, 48) * 50 + 1
    config = LossConfig(labels=2.0, depth=3.0, global_depth=0.25, gradient=0.1)
    parts = JointLoss(config)(_output(False), labels, depth)
    expected = 2 * parts["labels"] + 3 * (parts["depth"] + 0.1 * parts["gradient"]) + 0.25 * parts["global_depth"]
    torch.testing.assert_close(parts["total"], expected)
