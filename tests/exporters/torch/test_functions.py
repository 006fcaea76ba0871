"""Unary operators are written as ONNX computes them, in each of torch's forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.numerics.functions import FUNCTIONS, function_name

if TYPE_CHECKING:
    from collections.abc import Callable

X = torch.linspace(-7, 7, 401)[None]
MODULES = (
    *(
        nn.CELU(0.7),
        nn.ELU(1.3),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.Hardsigmoid(),
        nn.Hardswish(),
        nn.Hardtanh(),
        nn.Hardtanh(-0.5, 2.0),
    ),
    *(
        nn.LeakyReLU(0.2),
        nn.Mish(),
        nn.PReLU(),
        nn.ReLU(),
        nn.ReLU6(),
        nn.SELU(),
        nn.Sigmoid(),
        nn.SiLU(),
        nn.Softplus(),
        nn.Softsign(),
    ),
    nn.Tanh(),
    *(nn.Hardshrink(0.3), nn.Softshrink(0.3), nn.Tanhshrink(), nn.Threshold(0.2, 0.0)),
    nn.LogSigmoid(),
)
FUNCTIONALS: tuple[Callable[[Tensor], Tensor], ...] = (
    *(
        torch.abs,
        torch.erf,
        torch.exp,
        torch.neg,
        torch.sigmoid,
        torch.tanh,
        torch.relu,
        F.gelu,
        F.hardswish,
        F.silu,
        F.selu,
        F.mish,
    ),
    *(F.softplus, F.softsign, F.hardsigmoid, F.relu6, F.elu, F.celu),
    torch.cos,
    torch.sin,
    torch.square,
    *(torch.ceil, torch.floor, torch.round, torch.sign, torch.expm1, F.logsigmoid, F.hardshrink),
    lambda x: torch.log1p(torch.exp(x)),
    lambda x: torch.pow(x, 3),
    lambda x: torch.log(torch.exp(x)),
    lambda x: torch.rsqrt(torch.exp(x)),
    lambda x: torch.sqrt(torch.abs(x)),
    lambda x: torch.reciprocal(torch.exp(x)),
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: F.leaky_relu(x, negative_slope=0.3),
    lambda x: F.hardtanh(x, -2.0, 0.5),
    lambda x: torch.clamp(x, min=-1.0),
    lambda x: torch.clamp(x, max=1.5),
    lambda x: x.clamp(0.0, 1.5),
    lambda x: x.sigmoid() / 3,
)


class One(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def computed(model: nn.Module) -> Any:
    session = ort.InferenceSession(
        serialize(lower(model, (X.shape[1],))), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"input": X.numpy()})[0]


@pytest.mark.parametrize("function", [*MODULES, *FUNCTIONALS])
def test_onnx_runtime_computes_the_same(function: Callable[[Tensor], Tensor]) -> None:
    model = nn.Sequential(function) if isinstance(function, nn.Module) else One(function)
    with torch.no_grad():
        np.testing.assert_allclose(computed(model), model(X).numpy(), atol=3e-6, rtol=3e-6)


def test_every_function_of_the_table_is_among_them() -> None:
    written = {function_name(module) for module in MODULES} | {
        function_name(each) for each in FUNCTIONALS
    }
    inside = {"clamp", "sqrt", "reciprocal", "pow", "log", "log1p", "rsqrt"}  # of the lambdas
    assert written | inside >= FUNCTIONS.keys() - {"leakyrelu"}


def test_only_torchs_own_go_by_their_name() -> None:
    class Sigmoid(nn.Module):
        pass

    def sigmoid(x: Tensor) -> Tensor:
        return 1 - x

    assert function_name(Sigmoid()) is None
    assert function_name(sigmoid) is None
    assert (
        function_name(nn.Sigmoid())
        == function_name(torch.sigmoid)
        == function_name(F.sigmoid)
        == function_name("sigmoid")
        == "sigmoid"
    )


@pytest.mark.parametrize("module", [nn.Softplus(beta=2.0), nn.PReLU(3)])
def test_what_onnx_does_not_have_is_named(module: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"softplus|PReLU"):
        lower(nn.Sequential(module), (3, 4, 4))
