"""The fast passes of the fake quantiser against its formula written out with masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeq.training.quantizers.parts.fake_quant import fake_quantize

LOW, HIGH = -7, 7
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def written_out(
    x: Tensor, step: Tensor, grad: Tensor, *, rounding: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Value, gradient by ``x`` and gradient by the step."""
    position = x / step
    inside = (position > LOW) & (position < HIGH)
    clipped = position.clamp(LOW, HIGH)
    level = clipped.round() if rounding else clipped
    return (
        level * step,
        grad * inside,
        (grad * (level - torch.where(inside, position, 0.0))).sum_to_size(step.shape),
    )


def fast(
    x: Tensor, step: Tensor, grad: Tensor, *, rounding: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    leaf, learned = x.detach().clone().requires_grad_(), step.detach().clone().requires_grad_()
    value = fake_quantize(leaf, learned, LOW, HIGH, rounding=rounding)
    value.backward(grad)
    assert leaf.grad is not None
    assert learned.grad is not None
    return value.detach(), leaf.grad, learned.grad


def case(
    dtype: torch.dtype = torch.float32, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, grad = torch.randn(2, 8, 6, 16, 16, generator=generator)
    return x.to(dtype).to(memory_format=layout), grad.to(dtype).to(memory_format=layout)


@pytest.mark.parametrize("rounding", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "step",
    [torch.tensor(0.17), torch.linspace(0.05, 0.4, 6).reshape(1, -1, 1, 1)],
    ids=["tensor", "channel"],
)
def test_it_is_the_formula(step: Tensor, layout: torch.memory_format, rounding: bool) -> None:
    """The value and the gradient that passes bit for bit.

    The step's, a sum of 12,288 terms in another order, as float64 has it.
    """
    x, grad = case(layout=layout)
    value, by_x, by_step = fast(x, step, grad, rounding=rounding)
    expected_value, expected_by_x, _ = written_out(x, step, grad, rounding=rounding)
    assert torch.equal(value, expected_value)
    assert torch.equal(by_x, expected_by_x)
    exact = written_out(x.double(), step.double(), grad.double(), rounding=rounding)[2]
    torch.testing.assert_close(by_step.double(), exact, atol=2e-3, rtol=1e-5)
    assert value.stride() == by_x.stride() == x.stride()


def test_a_shorter_type_is_kept_and_computed_in_float32() -> None:
    x, grad = case(torch.bfloat16)
    step = torch.tensor(0.17)
    value, by_x, by_step = fast(x, step, grad)
    expected_value, expected_by_x, expected_by_step = written_out(
        x.float(), step, grad.float(), rounding=True
    )
    assert value.dtype == by_x.dtype == torch.bfloat16
    assert torch.equal(value, expected_value.bfloat16())
    assert torch.equal(by_x, expected_by_x.bfloat16())
    assert by_step.dtype == torch.float32
    torch.testing.assert_close(by_step, expected_by_step, atol=1e-3, rtol=1e-5)


def test_infinite_values_are_clipped_and_leave_the_gradients_finite() -> None:
    _, by_x, by_step = fast(
        torch.tensor([float("inf"), float("-inf"), 0.3]), torch.tensor(0.2), torch.ones(3)
    )
    assert by_x.tolist() == [0, 0, 1]
    assert by_step.item() == pytest.approx(7 - 7 + (2 - 1.5), abs=1e-6)


def test_nothing_is_kept_but_the_input_and_the_step() -> None:
    kept: list[Tensor] = []
    x = torch.linspace(-2, 2, 50, requires_grad=True)
    step = torch.tensor(0.2, requires_grad=True)

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fake_quantize(x, step, LOW, HIGH)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr(), step.data_ptr()]


def test_the_input_and_its_gradient_are_left_as_they_are() -> None:
    x, grad = case()
    before, grad_before = x.clone(), grad.clone()
    leaf = x.requires_grad_()
    fake_quantize(leaf, torch.tensor(0.2, requires_grad=True), LOW, HIGH).backward(grad)
    assert torch.equal(leaf.detach(), before)
    assert torch.equal(grad, grad_before)
