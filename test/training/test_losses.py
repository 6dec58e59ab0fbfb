import numpy as np
import pytest
import torch

from training.losses import class_weights, gradient_loss, label_loss, silog_loss


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
