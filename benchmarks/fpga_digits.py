"""The demo's digits network on a device, end to end, with all test images.

The network is the one that ``spikepack demo`` trains and exports, the flow that of ``spikepack synth`` with
its defaults. Every code of every layer is compared with the integer reference before anything is
synthesized, without and with random stalls. Frequencies are nextpnr's estimates, medians over seeds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from lava_bridge.fpga.flow import Plan, synth
from spikejelly_pack.cli.demo.digits import load, train
from spikejelly_pack.cli.demo.stages import convert
from spikejelly_pack.integer import export
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.execute import encode, outputs, run_packed

__all__ = ["FAST", "run", "table"]

EPOCHS = 25  # as spikepack demo
FAST: dict[str, Any] = {"epochs": 1, "seeds": (), "images": 2}


def run(
    time_steps: int = 4,
    part: str = "ecp5-85f",
    seeds: Sequence[int] = (1, 2, 3),
    images: int | None = None,
    epochs: int = EPOCHS,
    deadline: float = 7200.0,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Train, export, write hardware, simulate, synthesize, place and route.

    Args:
        time_steps: T.
        part: Device; the parallelism is chosen to fill it.
        seeds: Of place-and-route; none: simulation alone.
        images: Test images; None: all 450.
        epochs: Of training.
        deadline: Seconds, of each tool's run.
        progress: Gets a word on what runs now.
    """
    data = load()
    progress("training the digits network")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "net.spk"
        export(convert(train(data, seed=0, epochs=epochs), data, time_steps), path, data.test_inputs)
        network = exchange.load(path)
        (entry,) = network.inputs
        codes = {entry.name: encode(entry, data.test_inputs[:images].numpy())}
        todo = Plan(device=part, seeds=tuple(seeds), synthesize=bool(seeds), deadline=deadline)
        report = synth(network, folder / "out", todo, name="net.spk", codes=codes, progress=progress)
        digest = sha256(path.read_bytes()).hexdigest()
    (logits,) = outputs(network, run_packed(network, codes)).values()
    right = float((logits.argmax(1) == data.test_classes[:images].numpy()).mean())
    return {"file_sha256": digest, "accuracy": right, **report}


def table(result: dict[str, Any]) -> str:
    """What was proved, what it takes and how fast it is, as Markdown."""
    simulation, used = result["simulation"], result["utilization"]
    rows = {
        "test images, every code of every layer equal to the reference": f"{simulation['samples']}",
        "classified rightly": f"{100 * result['accuracy']:.2f} %",
        **{
            name.upper(): f"{entry['used']} of {entry['available']} ({entry['share']:.0%})"
            for name, entry in used.items()
            if name != "io"
        },
        "cycles per sample": f"{simulation['cycles_per_sample']:.0f}",
    }
    if "place" in result:
        speed = result["performance"]
        low, high = result["place"]["fmax_spread_mhz"]
        seeds = ", ".join(str(one["seed"]) for one in result["place"]["runs"])
        rows |= {
            f"Fmax, median of nextpnr's seeds {seeds}": f"{speed['fmax_mhz']:.1f} MHz "
            f"({low:.1f} to {high:.1f})",
            "samples per second": f"{speed['samples_per_second']:,.0f}",
            "latency of one sample": f"{speed['latency_microseconds']:.0f} microseconds",
            "synaptic operations per second": f"{speed['synaptic_operations_per_second'] / 1e9:.2f} G",
        }
    head = f"| digits network, T = {result['network']['time_steps']} | {result['device']['title']} |"
    return "\n".join([head, "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())])
