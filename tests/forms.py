"""Packed and serial form of one network, compared code by code.

Where the forms differ, a membrane must have stood at a rounding tie within the error of its own sum. The
bound is derived, not tuned: :func:`magnitudes` runs the same network with the absolute values of all weights,
which gives for every membrane the sum of the magnitudes of its terms (Higham, section 3.1).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spikejelly_pack import SpikePackNode, decode_output, digit_view, latency, set_form

Record = dict[str, tuple[Tensor, Tensor]]


def nodes(net: nn.Module) -> dict[str, SpikePackNode]:
    """Return the SpikePack neurons of a network by name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, SpikePackNode)}


def record(net: nn.Module, x: Tensor) -> tuple[Tensor, Record]:
    """Run from a reset state; return the output and every node's input and output, in call order."""
    seen: Record = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs[0].detach(), output.detach())

        return hook

    handles = [node.register_forward_hook(keep(name)) for name, node in nodes(net).items()]
    functional.reset_net(net)
    with torch.no_grad():
        output = net(x)
    for handle in handles:
        handle.remove()
    functional.reset_net(net)
    return output, seen


def magnitudes(net: nn.Module, x: Tensor, packed: Record) -> dict[str, Tensor]:
    """Return the sum of the magnitudes of the terms of every membrane, for the packed outputs given."""
    twin = copy.deepcopy(net)
    for module in twin.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            module.running_mean.abs_().neg_()
    for parameter in twin.parameters():
        parameter.data.abs_()
    terms: dict[str, Tensor] = {}

    def replay(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
            terms[name] = inputs[0].detach()
            return packed[name][1].abs()

        return hook

    for name, node in nodes(twin).items():
        node.register_forward_hook(replay(name))
    functional.reset_net(twin)
    with torch.no_grad():
        twin(x.abs())
    return terms


def operations(net: nn.Module, time_steps: int) -> int:
    """Bound the rounded operations behind one membrane by those of all layers in a row."""
    count = 0
    for module in net.modules():
        weight = getattr(module, "weight", None)
        fan_in = weight[0].numel() if isinstance(weight, Tensor) and weight.ndim > 1 else 0
        count += fan_in + 8 + 4 * time_steps
    return count


def forced(net: nn.Module, x: Tensor, packed: Record) -> tuple[Tensor, Record]:
    """Run the serial form with every node emitting the packed codes; record what it would have emitted.

    Every node is then judged by itself: a flip upstream cannot excuse one downstream.
    """
    seen: Record = {}

    def force(name: str, node: SpikePackNode) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            seen[name] = (inputs[0].detach(), output.detach())
            return digit_view(packed[name][1], node.window).transpose(0, 1).flatten(0, 1)

        return hook

    handles = [node.register_forward_hook(force(name, node)) for name, node in nodes(net).items()]
    functional.reset_net(net)
    with torch.no_grad():
        output = net(x)
    for handle in handles:
        handle.remove()
    functional.reset_net(net)
    return output, seen


@dataclass(frozen=True)
class Comparison:
    """Outputs of both forms and where their codes differ.

    Attributes:
        packed: Output of the packed form.
        serial: Decoded output of the serial form.
        forced: Decoded output of the serial form whose nodes emit the packed codes.
        flips: Codes that differ between packed and serial form.
        codes: Codes compared.
        unexplained: Codes that differ though all codes before are equal, beyond the reach of rounding.
    """

    packed: Tensor
    serial: Tensor
    forced: Tensor
    flips: int
    codes: int
    unexplained: int

    def difference(self, other: Tensor) -> float:
        """Return the largest absolute difference of an output from the packed one."""
        return float((self.packed - other).abs().max())


def compare(net: nn.Module, x: Tensor, repeats: bool, tolerance: Callable[[Any], Any]) -> Comparison:
    """Run a multi-step network of nodes without leak (tau = 2) that share a window in both forms.

    Args:
        net: In step mode "m" and eval mode.
        x: ``[W, N, *]`` windows, or ``[N, *]`` where the network repeats its input itself.
        repeats: Whether it does.
        tolerance: The fixture of that name.
    """
    steps = next(iter(nodes(net).values())).window
    set_form(net, "packed")
    packed, packed_nodes = record(net, x)
    terms = magnitudes(net, x, packed_nodes)
    set_form(net, "serial")
    sequence = x if repeats else x.repeat_interleave(steps, 0)
    serial, serial_nodes = record(net, sequence)
    serial_forced, forced_nodes = forced(net, sequence, packed_nodes)
    if serial.shape != packed.shape:
        serial, serial_forced = decode_output(serial, steps), decode_output(serial_forced, steps)
    flips, codes, unexplained = 0, 0, 0
    allowed = 2 * tolerance(x.dtype).gamma(operations(net, steps))
    for name, (membrane, values) in packed_nodes.items():
        node = nodes(net)[name]
        flips += int((decode_output(serial_nodes[name][1], steps) != values).sum())
        codes += values.numel()
        flipped = decode_output(forced_nodes[name][1], steps) != values
        theta = node.threshold.to(membrane.dtype)
        lsb = theta.reshape(-1, *[1] * (membrane.ndim - 3 if theta.ndim else 0)) / node.params.weight_sum
        scaled = membrane.abs() / lsb + node.params.half
        distance = (scaled - scaled.round()).abs() * lsb
        unexplained += int((flipped & (distance > allowed * terms[name])).sum())
    return Comparison(packed, serial, serial_forced, flips, codes, unexplained)


def pipelined(
    net: nn.Module, x: Tensor, steps: int, delay: int | None = None, tau: float = 2.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run the single-step form from a reset state: every window ``steps`` times, then wait for the rest.

    Args:
        net: A network of nodes.
        x: ``[W, N, *]`` windows.
        steps: Time steps of a window.
        delay: Latency in time steps, where :func:`latency` does not know it.
        tau: Base of the digits.

    Returns:
        The decoded output behind the latency, and what every node emitted, step by step from the first.
    """
    trains: dict[str, list[Tensor]] = {}
    functional.set_step_mode(net, "s")
    set_form(net, "serial")
    functional.reset_net(net)
    handles = [
        node.register_forward_hook(
            lambda _module, _inputs, out, name=name: trains.setdefault(name, []).append(out)
        )
        for name, node in nodes(net).items()
    ]
    delay = latency(net) if delay is None else delay
    with torch.no_grad():
        outputs = [net(x[min(t // steps, len(x) - 1)]) for t in range(delay + len(x) * steps)]
    for handle in handles:
        handle.remove()
    functional.reset_net(net)
    decoded = decode_output(torch.stack(outputs[delay:]), steps, tau)
    return decoded, {name: torch.stack(train) for name, train in trains.items()}


def randomise(net: nn.Module, generator: torch.Generator) -> None:
    """Give every layer weights, and every normalisation statistics, that keep the nodes busy."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.2, 0.6, generator=generator)
                module.weight.uniform_(0.8, 1.6, generator=generator)
                module.bias.normal_(0.2, 0.3, generator=generator)
            elif isinstance(getattr(module, "weight", None), Tensor) and module.weight.ndim > 1:
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2.0 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.normal_(0.1, 0.1, generator=generator)
