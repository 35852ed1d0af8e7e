"""Layers that ``spikepack bench fpga`` compares: their parameters, stimulus and numpy reference."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lava_bridge.fpga import tools
from lava_bridge.fpga.generate import rtl_sources
from spikejelly_pack.spec.errors import RunError

from .fpga_trains import Array, bit_trains, decoded, rate_trains

__all__ = [
    "RTL",
    "Array",
    "Layer",
    "Size",
    "Stream",
    "bit_trains",
    "decoded",
    "lif",
    "mac",
    "rate_trains",
    "simulate",
]

RTL = Path(__file__).resolve().parent / "fpga_rtl"


@dataclass(frozen=True)
class Size:
    """A dense layer.

    Attributes:
        n_in: Inputs.
        n_out: Neurons; all of them add in one cycle.
        bits: T, or the bits of an activation.
        fire: Neurons that fire or requantise in one cycle.
        weight_bits: Of the signed weights.
        seed: Of the weights.
    """

    n_in: int = 256
    n_out: int = 64
    bits: int = 4
    fire: int = 8
    weight_bits: int = 8
    seed: int = 0

    @property
    def index_bits(self) -> int:
        """Bits of an input's index."""
        return (self.n_in - 1).bit_length()

    def weights(self) -> Array:
        """Weights ``[n_out, n_in]``: bell-shaped, scaled so that the largest fills the width."""
        values = np.random.default_rng(self.seed).normal(size=(self.n_out, self.n_in))
        top = (1 << (self.weight_bits - 1)) - 1
        return np.rint(values * top / np.abs(values).max()).astype(np.int64)

    def bias(self) -> Array:
        """Bias ``[n_out]``, a few steps of the code wide."""
        return np.random.default_rng(self.seed + 1).integers(-self.step, self.step + 1, self.n_out)

    @property
    def step(self) -> int:
        """One step of the output code, a power of two: three deviations of a sum fill the code's range."""
        spread = 0.3 * np.sqrt(self.n_in) * self.weights().std()
        return 1 << max(1, round(np.log2(3 * spread)))


@dataclass(frozen=True)
class Layer:
    """One design.

    Attributes:
        name: In the results.
        top: Module.
        sources: Files of :data:`RTL`.
        parameters: Of the module.
        memories: Contents of generated files.
        dsp: Whether synthesis may use DSP blocks.
        out_bits: Width of the output's tdata.
        inputs: Input ports of the module, connected to the bench's stimulus word.
        facts: Widths, for the results.
    """

    name: str
    top: str
    sources: tuple[str, ...]
    parameters: dict[str, int]
    memories: dict[str, str] = field(repr=False)
    dsp: bool = False
    out_bits: int = 8
    inputs: str = ""
    facts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """Words for the bench: ``[words]`` into the layer, ``[words]`` expected, samples."""

    stimulus: Array
    expected: Array
    samples: int


def _row(values: Array, width: int) -> str:
    total = sum((int(value) % (1 << width)) << (width * place) for place, value in enumerate(values))
    return f"{total:0{(width * len(values) + 3) // 4}x}"


def _memory(rows: Array, width: int) -> str:
    return "\n".join(_row(row, width) for row in rows) + "\n"


def _signed_width(largest: int) -> int:
    return int(largest).bit_length() + 1


def _largest_sum(weights: Array) -> int:
    """The largest absolute sum of any subset of a neuron's weights."""
    return int(max(np.maximum(weights, 0).sum(1).max(), np.maximum(-weights, 0).sum(1).max()))


def _words(spikes: Array, fire: int) -> Array:
    """``[..., n_out]`` bits into ``[..., n_out / fire]`` words, the first neuron in the lowest bit."""
    return _joined(spikes.reshape(*spikes.shape[:-1], -1, fire), 1)


def _joined(fields: Array, width: int) -> Array:
    """``[..., k]`` numbers into ``[...]`` words of any width, the first in the lowest bits."""
    places = np.array([1 << (width * k) for k in range(fields.shape[-1])], dtype=object)
    return (fields.astype(object) * places).sum(-1)


def _with_last(words: Array, width: int) -> Array:
    """Flatten ``[samples, words]`` with tlast above tdata in the last word of each sample."""
    words = words.reshape(len(words), -1).copy()
    words[:, -1] |= 1 << width
    return words.ravel()


def lif(size: Size, steps: int) -> Layer:
    """Leaky integrate-and-fire layer that runs ``steps`` time steps."""
    weights = size.weights()
    parameters = {
        "N_IN": size.n_in,
        "N_OUT": size.n_out,
        "W_W": size.weight_bits,
        "ACC_W": _signed_width(2 * _largest_sum(weights)),  # 1 + 1/2 + 1/4 + ... < 2
        "T": steps,
        "F": size.fire,
        "THETA": size.step,
    }
    return Layer(
        name=f"lif_t{steps}",
        top="lif_dense",
        sources=("lif_dense.sv",),
        parameters=parameters,
        memories={"weights.mem": _memory(weights.T, size.weight_bits)},
        out_bits=size.fire,
        inputs=f".s_axis_tuser(s_word[1:0]), .s_axis_tdata(s_word[2 +: {size.index_bits}])",
    )


def event_words(trains: Array) -> Array:
    """Beats ``{index, last of the step, event}`` of spike trains ``[samples, T, n_in]``."""
    beats: list[int] = []
    for step in trains.reshape(-1, trains.shape[-1]):
        indices = np.flatnonzero(step)
        words = (indices << 2 | 1) if len(indices) else np.array([0])
        words[-1] |= 2
        beats.extend(words.tolist())
    return np.array(beats, np.int64)


def lif_stream(layer: Layer, trains: Array, weights: Array) -> Stream:
    """What the layer must answer to spike trains ``[samples, T, n_in]``."""
    theta, fire = layer.parameters["THETA"], layer.parameters["F"]
    potential = np.zeros((len(trains), len(weights)), np.int64)
    spikes = np.zeros_like(potential)
    planes = []
    for step in trains.transpose(1, 0, 2).astype(np.int64):
        potential = np.where(spikes == 1, 0, potential >> 1) + step @ weights.T
        spikes = (potential >= theta).astype(np.int64)
        planes.append(_words(spikes, fire))
    expected = _with_last(np.stack(planes, 1), fire)
    return Stream(event_words(trains), expected, len(trains))


def mac(size: Size, *, skip: bool, dsp: bool) -> Layer:
    """Integer layer with a multiplier per neuron, with or without skipping of zeros and DSP blocks."""
    weights, half = size.weights(), size.step // 2
    bound = _largest_sum(weights) * ((1 << size.bits) - 1) + size.step + half
    width = _signed_width(bound)
    parameters = {
        "N_IN": size.n_in,
        "N_OUT": size.n_out,
        "W_W": size.weight_bits,
        "ACC_W": width,
        "X_W": size.bits,
        "F": size.fire,
        "SHIFT": size.step.bit_length() - 1,
        "SKIP": int(skip),
        "SPLIT": int(not dsp and size.bits > 4),
    }
    value = f"s_word[0 +: {size.bits}]"
    data = f"{{s_word[40 +: {size.index_bits}], {value}}}" if skip else value
    bias = (size.bias() + half).reshape(-1, size.fire)
    return Layer(
        name=f"mac{size.bits}_{'skip' if skip else 'all'}_{'dsp' if dsp else 'lut'}",
        top="mac_dense",
        sources=("mac_dense.sv",),
        parameters=parameters,
        memories={
            "weights.mem": _memory(weights.T, size.weight_bits),
            "bias.mem": _memory(bias, width),
        },
        dsp=dsp,
        out_bits=size.fire * size.bits,
        inputs=f".s_axis_tlast(s_word[32]), .s_axis_tdata({data})",
    )


def mac_stream(layer: Layer, codes: Array, size: Size) -> Stream:
    """What the layer must answer to codes ``[samples, n_in]``."""
    skip = bool(layer.parameters["SKIP"])
    beats: list[int] = []
    for sample in codes.astype(np.int64):
        indices = np.flatnonzero(sample) if skip and sample.any() else np.arange(1 if skip else len(sample))
        words = indices << 40 | sample[indices]
        words[-1] |= 1 << 32
        beats.extend(words.tolist())
    return Stream(np.array(beats, np.int64), code_words(codes, size), len(codes))


def code_words(codes: Array, size: Size) -> Array:
    """Output words of an integer layer for codes ``[samples, n_in]``, from the equation of its codes."""
    sums = codes.astype(np.int64) @ size.weights().T + size.bias() + size.step // 2
    answers = np.clip(np.floor_divide(sums, size.step), 0, (1 << size.bits) - 1)
    words = _joined(answers.reshape(len(codes), -1, size.fire), size.bits)
    return _with_last(words, size.fire * size.bits)


def stream_of(layer: Layer, size: Size, trains: Array) -> Stream:
    """Stimulus and answers of a layer for the values of trains ``[samples, bits, n_in]``."""
    if layer.top == "mac_dense":
        return mac_stream(layer, decoded(trains), size)
    steps = layer.parameters["T"]
    if steps != size.bits:
        trains = rate_trains(decoded(trains), steps)
    return lif_stream(layer, trains, size.weights())


def prepare(layer: Layer, folder: Path) -> list[str]:
    """Copy the sources and write the memories of a layer into ``folder``; names of the sources."""
    texts = {name: (RTL / name).read_text("utf-8") for name in layer.sources}
    texts |= {"sp_skid.sv": rtl_sources()["sp_skid.sv"], **layer.memories}
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    return [name for name in texts if name.endswith(".sv")]


def simulate(layer: Layer, stream: Stream, folder: Path, stall: int = 0) -> float:
    """Simulate; cycles per sample in the steady state.

    Raises:
        RunError: A word differs from the reference.
    """
    sources = prepare(layer, folder)
    (folder / "tb_stream.sv").write_text((RTL / "tb_stream.sv").read_text("utf-8"), "utf-8")
    parameters = ", ".join(f".{name}({value})" for name, value in layer.parameters.items())
    lines = {
        "DUT": f"{layer.top} #({parameters})",
        "DUT_INPUTS": layer.inputs,
        "OUT_W": layer.out_bits,
        "WORDS_IN": len(stream.stimulus),
        "WORDS_OUT": len(stream.expected),
        "STALL": stall,
        "LIMIT": 20 * len(stream.stimulus) + 20 * len(stream.expected) + 10000,
    }
    (folder / "bench.svh").write_text("".join(f"`define {name} {value}\n" for name, value in lines.items()))
    for name, words in (("stimulus.mem", stream.stimulus), ("expected.mem", stream.expected)):
        (folder / name).write_text("\n".join(f"{word:x}" for word in words) + "\n")
    compile_arguments = ["-g2012", "-o", "bench.vvp", *sources, "tb_stream.sv"]
    tools.run(tools.find("iverilog"), compile_arguments, folder, stage=f"compile {layer.name}")
    program = replace(tools.find("iverilog"), name="vvp", command=str(folder / "bench.vvp"))
    said = tools.run(program, [], folder, stage=f"simulate {layer.name}").text
    if not re.search(r"^PASS$", said, re.MULTILINE):
        raise RunError(
            f"{layer.name}: must equal the numpy reference, got {said.strip()[-200:]}; mend the RTL."
        )
    ends = [int(cycle) for cycle in re.findall(r"^sample (\d+)$", said, re.MULTILINE)]
    return (ends[-1] - ends[1]) / (len(ends) - 2)
