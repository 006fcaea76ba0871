"""AIMET-ONNX: its simulation, with equalisation or AdaRound in front of it.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import sys

import quantizing

sys.path.pop(0)  # this folder, where the script has the name of the package
_STEPS = 1000


def main() -> None:
    """Quantise, answer by the simulation, print the costs."""
    work = quantizing.start()
    import aimet_onnx
    import onnx
    from aimet_onnx.cross_layer_equalization import equalize_model

    work.begin()
    model = onnx.load(str(work.source))
    if work.method == "cle":
        equalize_model(model)
    scheme = work.method if work.method in ("min_max", "tf_enhanced") else "min_max"
    sim = aimet_onnx.QuantizationSimModel(
        model,
        param_type=f"int{work.weight_bits}",
        activation_type=f"int{work.act_bits}",
        quant_scheme=scheme,
    )
    for name in work.ends():
        sim.qc_quantize_op_dict[name].set_bitwidth(quantizing.EIGHT)
    batches = list(work.batches())
    if work.method == "adaround":
        aimet_onnx.apply_adaround(sim, batches, _STEPS)
    sim.compute_encodings(batches)
    work.finish(lambda feed: sim.session.run(None, feed)[0])


if __name__ == "__main__":
    main()
