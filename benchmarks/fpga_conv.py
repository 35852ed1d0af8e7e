"""The convolutions of the digits network in both forms: event by event, and by line buffers.

Every convolution stands alone and reads the codes of the trained network's layer before it, on test images,
with a lane for every output channel. Its membranes are compared with the integer reference before cycles are
counted, in simulation. Nothing behind a convolution holds it up.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from spikingjelly.activation_based import ann2snn

from lava_bridge.fpga import tools
from lava_bridge.fpga.cycles import loads
from lava_bridge.fpga.design import Design
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.estimate import estimate
from lava_bridge.fpga.generate import write
from lava_bridge.fpga.options import Options, PopulationOptions
from lava_bridge.fpga.place import pack
from lava_bridge.fpga.planning import plan
from lava_bridge.fpga.simulate import Simulated, simulator
from lava_bridge.fpga.synth import synthesize
from spikejelly_pack import SpikePackRecipe, build_integer
from spikejelly_pack.cli.demo.digits import load, train
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import encode, run_packed

__all__ = ["FAST", "run", "table"]

Array = np.ndarray[Any, np.dtype[Any]]
FAST: dict[str, Any] = {"epochs": 1, "images": 4, "choices": (("line", 1),), "synthesized": 0}
EMITTED = 8  # membranes a beat: no convolution waits for its output


def run(
    images: int = 16,
    epochs: int = 8,
    choices: Sequence[tuple[str, int]] = (("event", 1), ("line", 1), ("line", 4)),
    synthesized: int = 1,
    part: str = "ecp5-85f",
    time_steps: int = 4,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Simulate all convolutions in all forms, synthesize some.

    Args:
        images: Test images.
        epochs: Of training.
        choices: Form, and codes of an incoming beat.
        synthesized: How many of the convolutions, the largest first, are synthesized and packed.
        part: Device.
        time_steps: T.
        progress: Gets a word on what runs now.
    """
    progress("training the digits network")
    network, values = _digits(images, epochs, time_steps)
    kernels = {op.name: op for op in network.ops.values() if isinstance(op, g.Conv2d) and op.groups == 1}
    layers = {name: _alone(network, op) for name, op in kernels.items()}
    codes = {f"{name}/x": values[network.ops[name].inputs[0]] for name in layers}
    result: dict[str, Any] = {"images": images, "part": part, "layers": {}, "tools": tools.versions()}
    for name, op in kernels.items():
        density = np.mean((codes[f"{name}/x"].astype(int)[..., None] >> np.arange(time_steps)) & 1)
        result["layers"][name] = {"kernel": list(op.weight.shape), "density": float(density), "designs": {}}
    for form, fire in choices:
        options = _options(layers, form, fire)
        whole = g.Network([op for ops in layers.values() for op in ops], time_steps)
        design = plan(whole, options)
        progress(f"simulating {form}, {fire} codes a beat")
        with simulator(design, progress=progress) as bench:
            measured = bench.run(codes)
        for name in layers:
            entry = _measured(design, measured, whole, codes, name)
            result["layers"][name]["designs"][f"{form}, {fire}"] = entry
    for name in layers:
        _resources(result["layers"][name], name, layers[name], time_steps, part)
    largest = sorted(layers, key=lambda name: -kernels[name].weight.size)[:synthesized]
    for name in largest:
        for form, fire in choices:
            design = plan(g.Network(layers[name], time_steps), _options({name: layers[name]}, form, fire))
            entry = result["layers"][name]["designs"][f"{form}, {fire}"]
            entry["used"] = _packed(design, part, progress)
    return result


def _digits(images: int, epochs: int, time_steps: int) -> tuple[g.Network, Mapping[str, Array]]:
    data = load()
    used: Any = data.train_inputs[:512]
    recipe = SpikePackRecipe(used.split(128), time_steps=time_steps, progress=False)
    network = build_integer(ann2snn.Converter(recipe).convert(train(data, seed=0, epochs=epochs)), used)
    (entry,) = network.inputs
    given = encode(entry, data.test_inputs[:images].numpy())
    return network, {entry.name: given, **run_packed(network, given)}


def _alone(network: g.Network, op: g.Conv2d) -> list[g.Op]:
    """The convolution between an input and a readout."""
    source = network.ops[op.inputs[0]]
    assert isinstance(source, (g.Neuron, g.Input))
    out = len(op.weight)
    return [
        g.Input(
            name=f"{op.name}/x", inputs=(), threshold=np.ones(1, np.float32),
            shape=network.shapes[source.name], time_steps=source.time_steps, signed=source.signed,
        ),
        g.Conv2d(
            name=op.name, inputs=(f"{op.name}/x",), weight_bits=op.weight_bits, weight=op.weight,
            stride=op.stride, padding=op.padding, dilation=op.dilation,
        ),
        g.Readout(
            name=f"{op.name}/y", inputs=(op.name,), scale=np.ones(out), bias=np.zeros(out, np.int32),
            state_bits=32,
        ),
    ]  # fmt: skip


def _options(layers: Mapping[str, Any], form: str, fire: int) -> Options:
    per = {f"{name}/y": PopulationOptions(fire=EMITTED) for name in layers}
    return Options(lanes=4096, fire=fire, convolution=form, per=per)


def _measured(
    design: Design, run: Simulated, network: g.Network, codes: Mapping[str, Array], name: str
) -> dict[str, float]:
    """Cycles per sample of one convolution, counted and by the law, once its membranes are right."""
    wanted = run_packed(network, dict(codes))[f"{name}/y"]
    if not np.array_equal(run.values[f"{name}/y"], wanted):
        raise AssertionError(f"{name}: hardware and the integer reference must agree")
    ends = run.cycles[f"{name}/y"][:, -1]
    law = loads(design, codes)[f"{name}/y"].cycles
    return {"cycles": float(np.diff(ends).mean()), "law": float(law[1:].mean())}


def _resources(entry: dict[str, Any], name: str, ops: list[g.Op], time_steps: int, part: str) -> None:
    for choice, measured in entry["designs"].items():
        form, fire = choice.split(", ")
        design = plan(g.Network(ops, time_steps), _options({name: ops}, form, int(fire)))
        measured["estimate"] = estimate(design, device(part))


def _packed(design: Design, part: str, progress: Callable[[str], Any]) -> dict[str, int]:
    target = device(part)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(design, folder)
        sources = [path.name for path in sorted(folder.glob("*.sv"))]
        netlist = synthesize(sources, design.top, target, folder, progress=progress)
        return pack(netlist, target, folder, progress=progress)


def table(result: dict[str, Any]) -> str:
    """Cycles and resources of every convolution in every form, as Markdown; estimates are marked."""
    columns = [
        "convolution (kernel; digits set)",
        "form, codes a beat",
        "cycles per sample",
        "LUT",
        "FF",
        "BRAM",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---|---|---:|---:|---:|---:|"]
    for name, layer in result["layers"].items():
        what = f"{name} ({' x '.join(map(str, layer['kernel']))}; {layer['density']:.0%})"
        for choice, entry in layer["designs"].items():
            mark = "" if "used" in entry else "~"
            used = entry.get("used", entry["estimate"])
            cells = [f"{mark}{used[one]}" for one in ("lut", "ff", "bram")]
            lines.append(f"| {what} | {choice} | {entry['cycles']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)
