"""The place of one quantizer during conversion: the node that takes it, checked against it on data."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from ..layer.scale_chain import MembraneScale, SpikeAmplitude
from ..neuron import SpikePackNode
from ..spec.errors import DtypeError, UnsupportedError
from .quantizers import QuantizerSpec

__all__ = ["QuantizerSite"]


class QuantizerSite(nn.Module, base.StepModule):
    """Runs the quantizer, and beside it the node in its place; counts where they differ.

    Args:
        path: Name of the quantizer.
        quantizer: The module itself.

    Attributes:
        spec: Its description, once read.
        seen: Values compared.
        different: Values where the node's output was another: exact ties that the quantizer rounds to even.
        error: ``||x - q(x)|| / ||x||`` on the last batch.
        saturation: Share of values beyond the largest code there.
    """

    def __init__(self, path: str, quantizer: nn.Module) -> None:
        super().__init__()
        self.path, self.quantizer = path, quantizer
        self.spec: QuantizerSpec | None = None
        self.enabled = True
        self.seen, self.different = 0, 0
        self.error, self.saturation = 0.0, 0.0

    @property
    def description(self) -> QuantizerSpec:
        """The description, which the recipe reads before it is asked for."""
        assert self.spec is not None
        return self.spec

    def build(self) -> tuple[MembraneScale, SpikePackNode, SpikeAmplitude]:
        """Charge scale, node and amplitude that compute what the quantizer computes, in packed form."""
        spec = self.description
        full = float(spec.max_code)  # with this threshold the LSB is 1, without a rounding error
        node = SpikePackNode(spec.time_steps, v_threshold=full, signed=spec.signed, form="packed")
        return MembraneScale(spec.before), node, SpikeAmplitude(spec.after, spec.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The quantizer's own output.

        Raises:
            DtypeError: Calibration values are not finite.
            UnsupportedError: The node computes something else: the description is wrong.
        """
        quantized = self.quantizer(x)
        if self.enabled and self.spec is not None and x.numel():
            if not bool(torch.isfinite(x).all()):
                raise DtypeError(
                    f"layer {self.path!r}: calibration values must be finite, got NaN or infinity; "
                    "clean the calibration data or mend the network."
                )
            self._compare(x.detach(), quantized.detach())
        return quantized

    def _compare(self, x: Tensor, quantized: Tensor) -> None:
        charge, node, amplitude = (module.to(x.device) for module in self.build())
        membrane = charge(x)
        own = amplitude(node(membrane))
        differs = own != quantized
        if bool(differs.any()):
            self._check_ties(x, membrane, quantized, own)
        self.seen += x.numel()
        self.different += int(differs.sum())
        norm = float(x.norm())
        self.error = float((x - quantized).norm()) / norm if norm else 0.0
        reach = membrane.abs() if self.description.signed else membrane
        self.saturation = float((reach > self.description.max_code).float().mean())

    def _check_ties(self, x: Tensor, membrane: Tensor, quantized: Tensor, own: Tensor) -> None:
        """Raise unless every difference is one step of a value that lies on a tie."""
        spec = self.description
        step = spec.step.to(x)
        step = step.view((-1,) + (1,) * (x.dim() - 2)) if step.numel() > 1 else step
        # One float short of 1/2 counts as a tie: adding 1/2 to it rounds to 1.
        tie = (membrane - membrane.floor() - 0.5).abs() <= torch.finfo(membrane.dtype).eps / 4
        if spec.ties == "up":
            tie = torch.zeros_like(tie)
        wrong = (own != quantized) & (~tie | ((own - quantized).abs() > 1.5 * step))
        if bool(wrong.any()):
            at = int(wrong.flatten().int().argmax())
            raise UnsupportedError(
                f"layer {self.path!r}: the quantizer must compute what its description says, got "
                f"{float(quantized.flatten()[at])!r} instead of {float(own.flatten()[at])!r} for "
                f"{float(x.flatten()[at])!r}; correct its spikepack_quantizer or extra_quantizers reader."
            )
