"""The exactness contract for the families of timm, each at its smallest.

Where the package is, which edgeq does not install.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.contract.test_foreign import random_images
from tests.support.checks.exactness import check_rows_one_and_two, roughen

from edgeq.deploy.evaluation.verify import verify
from edgeq.errors import UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    from torch import fx

timm: Any = pytest.importorskip("timm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # timm's own

FAMILIES = (
    *(
        "resnet18",
        "resnet18d",
        "resnext50_32x4d",
        "seresnet18",
        "res2net50_26w_4s",
        "regnetx_002",
        "regnety_002",
        "gernet_s",
    ),
    *("densenet121", "dla34", "ese_vovnet19b_dw", "selecsls42b", "darknet53"),
    *(
        "mobilenetv2_050",
        "mobilenetv3_small_050",
        "mobilenetv4_conv_small",
        "mnasnet_small",
        "lcnet_035",
        "tinynet_e",
        "hardcorenas_a",
    ),
    *(
        "efficientnet_lite0",
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "rexnet_100",
        "ghostnet_050",
        "repghostnet_050",
        "fbnetc_100",
    ),
    *("repvgg_a0", "mobileone_s0", "starnet_s1", "fastvit_t8", "repvit_m0_9"),
    *("convnext_atto", "inception_next_atto"),
)
LARGER = {"vgg11": 224, "vgg11_bn": 224, "inception_v3": 96, "inception_v4": 96, "xception41": 96}
REFUSED = {
    "poolformerv2_s12": "group_norm",
    "nf_resnet26": "computes its own weight",
    "ecaresnet26t": "Conv1d",
    "resnest14d": "sum",
}
MOST_FLIPS = 1e-3


def network(name: str, size: int) -> fx.GraphModule:
    torch.manual_seed(0)
    shape = (3, size, size)
    return roughen(
        quantize(timm.create_model(name, num_classes=10), Scheme(), torch.zeros(1, *shape)), shape
    )


@pytest.mark.parametrize("name", [*FAMILIES, *LARGER])
def test_a_family_is_exact_on_both_references(name: str, tmp_path: Path) -> None:
    size = LARGER.get(name, 64)
    model = network(name, size)
    images = np.random.default_rng(1).normal(0, 1, (1, 3, size, size)).astype(np.float32)
    verdict = check_rows_one_and_two(model, images, tmp_path)
    assert verdict.flips <= MOST_FLIPS * verdict.compared
    lowered = lower(model, (3, size, size))
    exported = tflite.export(lowered, ExportOptions())
    assert exported.parity.different == ()
    verify(lowered, exported, random_images(size), limit=1).require()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_quantised_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[name]):
        network(name, 64)
