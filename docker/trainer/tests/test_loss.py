import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from cairn_trainer.loss import ArcFace


def _arcface(margin=0.3, scale=30.0, classes=5, dimensions=8):
    head = ArcFace(dimensions, classes, margin, scale)
    head.reset_parameters(torch.Generator().manual_seed(0))
    return head


def test_the_targets_angle_is_widened_by_the_margin_and_the_others_stay():
    angles = torch.tensor([[0.4, 1.0, 2.0], [1.2, 0.1, 3.0]])
    logits = _arcface(margin=0.3, scale=30.0).logits(angles.cos(), torch.tensor([0, 2]))
    expected = 30 * angles.cos()
    expected[0, 0] = 30 * math.cos(0.4 + 0.3)
    # 3.0 + 0.3 is above pi: the monotonic substitute.
    expected[1, 2] = 30 * (math.cos(3.0) - 0.3 * math.sin(0.3))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)


def test_a_margin_of_zero_leaves_the_scaled_cosine():
    cosine = torch.tensor([[0.9, -0.5, 0.1]])
    torch.testing.assert_close(_arcface(margin=0.0, scale=60.0).logits(cosine, torch.tensor([1])), 60 * cosine)


@pytest.mark.parametrize('label', [0, 1])
@pytest.mark.parametrize('sign', [1, -1])
def test_loss_and_gradient_are_finite_where_a_cosine_is_one(label, sign):
    head = _arcface()
    with torch.no_grad():
        head.weight[0] = torch.eye(8)[0]
    embeddings = (sign * torch.eye(8)[:1]).requires_grad_()
    loss, _ = head(embeddings, torch.tensor([label]))
    loss.backward()
    assert loss.isfinite()
    assert embeddings.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()


@pytest.mark.parametrize('cosine', [1.0, 1 - 2**-24, 1 - 2**-20, 1 - 2**-19])
def test_near_a_cosine_of_one_the_gradient_has_a_bound(cosine):
    cosines = torch.tensor([[cosine, 0.9]], requires_grad=True)
    _arcface(margin=0.3, scale=1.0).logits(cosines, torch.tensor([0])).sum().backward()
    assert cosines.grad is not None
    # d/dc cos(acos c + m) = cos m + c sin m / sqrt(1 - c^2), and the root is at least 1 / 708.
    assert 0 <= cosines.grad[0, 0] <= math.cos(0.3) + 708 * math.sin(0.3)


def test_a_cosine_that_rounding_lifts_over_one_gives_no_nan():
    assert _arcface().logits(torch.tensor([[1.0000002, 0.5]]), torch.tensor([0])).isfinite().all()


def test_the_gradient_is_that_of_the_margin_softmax():
    head = _arcface()
    torch.manual_seed(1)
    embeddings, labels = torch.randn(6, 8, requires_grad=True), torch.tensor([0, 1, 2, 3, 4, 0])
    head(embeddings, labels).loss.backward()
    again = embeddings.detach().clone().requires_grad_()
    angles = (F.normalize(again) @ F.normalize(head.weight.detach()).T).acos()
    hot = F.one_hot(labels, 5)
    F.cross_entropy(30 * (angles + 0.3 * hot).cos(), labels).backward()
    torch.testing.assert_close(embeddings.grad, again.grad, rtol=1e-3, atol=1e-4)


def test_accuracy_is_counted_without_the_margin():
    head = _arcface(margin=1.0, classes=2, dimensions=2)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    # 40 degrees from class 0 and 50 from class 1: correct, although with the margin class 1 has the larger logit.
    embedding = torch.tensor([[math.cos(math.radians(40)), math.sin(math.radians(40))]])
    logits = head.logits(embedding, torch.tensor([0]))
    assert logits[0, 1] > logits[0, 0]
    assert head(embedding, torch.tensor([0])).correct == 1
