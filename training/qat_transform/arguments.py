"""What people hand to ``edgeq.quantize`` by mistake, told before torch stumbles over it."""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from edgeq.errors import UsageError
from edgeq.training.quantizers.parts.protocol import Quantizer
from edgeq.training.recipes.scheme import Scheme


def check_arguments(model: object, scheme: object) -> None:
    """Refuse what is no float network of known sizes, or no scheme.

    Raises:
        UsageError: says which.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"the network is a {type(model).__name__}, no torch.nn.Module",
            hint="give the network itself",
        )
    if not isinstance(scheme, Scheme):
        raise UsageError(
            f"the scheme is {scheme!r}",
            hint="give an edgeq.Scheme, such as edgeq.Scheme(weight_bits=4, act_bits=8)",
        )
    if isinstance(model, DataParallel | DistributedDataParallel) or hasattr(model, "_orig_mod"):
        raise UsageError(
            f"the network is inside of a {type(model).__name__}",
            hint="quantise the network itself, and wrap what that returns",
        )
    if any(isinstance(module, Quantizer) for module in model.modules()):
        raise UsageError(
            "the network is quantised already",
            hint="quantise the float network; edgeq.set_bits changes widths for a while",
        )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise UsageError(
            "the network has lazy layers, whose sizes are not known yet",
            hint="run a batch through it before",
        )
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not _has_weight(
            module
        ):
            raise UsageError(
                f"{path or 'the network'} computes its own weight, as weight normalisation does",
                hint="take that off first: torch.nn.utils.remove_weight_norm, or "
                "torch.nn.utils.parametrize.remove_parametrizations",
            )
    if any(name == "quantizers" for name, _ in model.named_children()):
        raise UsageError(
            "the network has a module 'quantizers', which is what edgeq adds",
            hint="give yours another name",
        )


def _has_weight(layer: nn.Module) -> bool:
    """Whether it is the layer's own, to be trained or held fixed."""
    return "weight" in dict(layer.named_parameters(recurse=False)) or "weight" in dict(
        layer.named_buffers(recurse=False)
    )
