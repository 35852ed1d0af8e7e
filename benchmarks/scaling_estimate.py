"""How long ImageNet would take on many GPUs: an estimate from stated assumptions, nothing measured on a GPU.

A step computes three times the forward pass at a share of the GPU's peak, then exchanges gradients; hours are
the steps of all epochs times both. What is measured is one number: the time of a training step of LIF against
the packed network at the same T, on a CPU.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ASSUMPTIONS", "estimates"]

ASSUMPTIONS: dict[str, Any] = {
    "images": 1_281_167,
    "epochs": 90,
    "forward_multiply_accumulates": {"ResNet-18": 1.81e9, "ResNet-50": 4.09e9},
    "parameters": {"ResNet-18": 11.7e6, "ResNet-50": 25.6e6},
    "flops_per_multiply_accumulate": 2,
    "backward_over_forward": 2,
    "gpu": "80 GB class, half precision with tensor cores, 312 TFLOP/s at its peak",
    "gpu_peak_flops": 312e12,
    "share_of_peak": 0.2,
    "images_per_gpu_and_step": 128,
    "gradient_bytes_per_parameter": 2,
    "all_reduce": "ring: 2 (n - 1) / n of the gradients pass each GPU",
    "bytes_per_second": {"within 8 GPUs": 200e9, "between nodes of 8": 25e9},
    "overlap": "none: exchange follows compute, the unfavourable case",
    "node_over_relu": "packed nodes cost what ReLU costs",
    "input": "data loading keeps up",
}


def estimates(ratios: dict[str, Any]) -> dict[str, Any]:
    """Hours of training on 8 and 64 GPUs, at the largest T measured.

    Args:
        ratios: ``train -> contender -> T -> ratio to packed`` of :mod:`.scaling`.
    """
    steps = max(ratios["train"]["lif"], key=int)
    factor = {kind: ratios["train"][kind][steps]["median"] for kind in ("packed", "lif")}
    rows = []
    for name in ASSUMPTIONS["forward_multiply_accumulates"]:
        for gpus in (8, 64):
            compute, exchange = _step(name, gpus)
            count = (
                ASSUMPTIONS["images"]
                * ASSUMPTIONS["epochs"]
                / (ASSUMPTIONS["images_per_gpu_and_step"] * gpus)
            )
            hours = {kind: count * (compute * times + exchange) / 3600 for kind, times in factor.items()}
            efficiency = compute / (compute + exchange)
            rows.append(
                {
                    "network": name,
                    "epochs": ASSUMPTIONS["epochs"],
                    "time_steps": int(steps),
                    "gpus": gpus,
                    "compute_seconds_a_step": compute,
                    "exchange_seconds_a_step": exchange,
                    "efficiency_packed": efficiency,
                    "hours": hours,
                }
            )
    return {"estimate": True, "assumptions": ASSUMPTIONS, "measured_training_ratio": factor, "rows": rows}


def _step(name: str, gpus: int) -> tuple[float, float]:
    """Seconds of compute (ANN or packed) and of gradient exchange in one step."""
    given = ASSUMPTIONS
    passes = 1 + given["backward_over_forward"]
    flops = given["forward_multiply_accumulates"][name] * given["flops_per_multiply_accumulate"] * passes
    compute = given["images_per_gpu_and_step"] * flops / (given["gpu_peak_flops"] * given["share_of_peak"])
    link = "within 8 GPUs" if gpus <= 8 else "between nodes of 8"
    volume = 2 * (gpus - 1) / gpus * given["parameters"][name] * given["gradient_bytes_per_parameter"]
    return compute, volume / given["bytes_per_second"][link]
