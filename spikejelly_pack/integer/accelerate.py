"""A whole integer network at the speed of the machine, bit for bit as :func:`.spec.execute.run_packed`.

Between layers codes are bytes (four where they have more than 8 bits); every product runs once per window
through the fastest route proven exact for its weights (:mod:`spikejelly_pack.ops.integer_products`); sums
are floats that hold every possible sum exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..ops import check_provider
from ..ops.integer_products import storage_dtype
from ..spec.equations import nearest_code
from ..spec.errors import DtypeError, ShapeError, UnsupportedError
from ..spec.execute import visible
from ..spec.graph import Input, Network, Readout
from ..spec.parameters import NeuronParameters
from ..spec.windows import by_window, in_order, windows_of
from . import accelerated_carry as _carry  # noqa: F401  # pyright: ignore[reportUnusedImport]  (fills STEPS)
from . import accelerated_maps as _maps  # noqa: F401  # pyright: ignore[reportUnusedImport]
from . import accelerated_moves as _moves  # noqa: F401  # pyright: ignore[reportUnusedImport]
from .accelerated_ops import STEPS, Step
from .export import build_integer
from .fused import fuse, spend
from .pooled import pool_first
from .torch_network import IntegerNetwork

__all__ = ["AcceleratedModel", "AcceleratedNetwork", "accelerate"]


class AcceleratedNetwork(nn.Module):
    """Run an integer network packed, fast and exactly, on the device its buffers are on.

    The first forward of a batch size (rounded up to a power of two) measures the routes of each product;
    later ones reuse them. On CUDA run one forward before capturing a graph, and capture with ``check=False``.

    Args:
        network: Integer network.
        check: Whether codes given to :meth:`forward` are checked to lie in the input's range, and values
            given to :meth:`predict` to be numbers; both wait for the device.
        provider: Of the firing: ``"auto"``, ``"torch"`` or ``"cupy"``.

    Raises:
        ParameterError: ``provider`` is none of these.
        EnvironmentMissingError: The kernels are forced and cannot run here.
        UnsupportedError: An operation has no accelerated step.
    """

    def __init__(self, network: Network, check: bool = True, provider: str = "auto") -> None:
        super().__init__()
        self.network, self.check = network, bool(check)
        self.provider = check_provider(provider, "accelerate")
        found: dict[str, Step] = {}
        for op in network.ops.values():
            if op.kind not in STEPS:
                raise UnsupportedError(
                    f"accelerate: {op.label} has no accelerated step; run the network with IntegerNetwork."
                )
            found[op.name] = STEPS[op.kind](op, [found[name].edge for name in op.inputs])
        self._sources = {op.name: op.inputs for op in network.ops.values()}
        pool_first(network, found, self._sources)
        fuse(network, found, self._sources)
        spend(found, self._sources)
        for step in found.values():
            step.use_provider(self.provider)
        # Names may hold dots, which modules may not.
        self._names = {name: f"{index}" for index, name in enumerate(found)}
        self.steps = nn.ModuleDict({self._names[name]: step for name, step in found.items()})
        last = {name: reader for reader, sources in self._sources.items() for name in (reader, *sources)}
        self._dead: dict[str, list[str]] = {}
        for name, reader in last.items():
            self._dead.setdefault(reader, []).append(name)
        self._constants: dict[tuple[str, torch.device], Tensor] = {}

    def _step(self, name: str) -> Step:
        step = self.steps[self._names[name]]
        assert isinstance(step, Step)
        return step

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return next(self.buffers()).device

    def forward(self, codes: Mapping[str, Any] | Any, windows: int | None = None) -> dict[str, Tensor]:
        """Membranes (int64) of every readout, by name, from input codes.

        Args:
            codes: Integer tensor or array ``[N, *shape]`` (``[W, N, *shape]`` where a sample has several
                windows), by input name where there are several.
            windows: W, as :func:`.spec.execute.run_packed` takes it.

        Raises:
            ShapeError: An input is missing, unknown, or of another shape.
            DtypeError: Codes are no integers or leave the input's range.
        """
        count = windows_of(self.network, windows, "accelerate")
        return self._run(self._inputs(codes, count), [op.name for op in self.network.readouts], count)

    def every_code(self, codes: Mapping[str, Any] | Any, windows: int | None = None) -> dict[str, Tensor]:
        """As :meth:`forward`, with the codes (int64) of every input and neuron too."""
        count = windows_of(self.network, windows, "accelerate")
        return self._run(self._inputs(codes, count), visible(self.network), count)

    def predict(self, values: Tensor) -> dict[str, Tensor]:
        """Real outputs (float64) of every readout from real input values: encode, run, scale.

        ``values``: ``[N, *shape]``, or ``[W, N, *shape]`` where the network's samples have several windows.

        Raises:
            ShapeError, DtypeError: The values are unusable, or the network has several inputs.
        """
        if len(self.network.inputs) != 1:
            raise ShapeError(
                "accelerate: predict needs a network with one input; pass codes to forward instead."
            )
        (op,) = self.network.inputs
        count = self.network.windows
        stream = encode(op, _stream(op, values.to(self.device), count), self._constant(op.name), self.check)
        membranes = self._run({op.name: stream}, [r.name for r in self.network.readouts], count)
        return {name: self._scaled(name, membrane) for name, membrane in membranes.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Constants are copied again on demand: a pickle may be loaded where there is no such device.
        return {**self.__dict__, "_constants": {}}

    def _constant(self, name: str) -> Tensor:
        """Threshold of an input or scale of a readout on the network's device, copied there once."""
        key = (name, self.device)
        if key not in self._constants:
            op = self.network.ops[name]
            assert isinstance(op, Input | Readout)
            array = op.threshold if isinstance(op, Input) else op.scale
            self._constants[key] = torch.from_numpy(array.copy()).to(self.device)
        return self._constants[key]

    def _scaled(self, name: str, membrane: Tensor) -> Tensor:
        scale = self._constant(name)
        return membrane * scale.view(-1, *[1] * (len(self.network.shapes[name]) - 1))

    def _inputs(self, codes: Mapping[str, Any] | Any, windows: int) -> dict[str, Tensor]:
        inputs = {op.name: op for op in self.network.inputs}
        if not isinstance(codes, Mapping):
            if len(inputs) != 1:
                raise ShapeError(
                    f"accelerate: network has inputs {list(inputs)}; pass a dict of codes by name."
                )
            codes = {next(iter(inputs)): codes}
        if set(codes) != set(inputs):
            raise ShapeError(
                f"accelerate: network has inputs {list(inputs)}, got {sorted(codes)}; pass these by name."
            )
        streams = {name: _stream(inputs[name], torch.as_tensor(codes[name]), windows) for name in codes}
        given = {name: self._checked(inputs[name], stream) for name, stream in streams.items()}
        counts = [len(value) for value in given.values()]
        if len(set(counts)) != 1:
            raise ShapeError(
                f"accelerate: all inputs must have the same number of samples, got {counts}; cut them."
            )
        return given

    def _checked(self, op: Input, codes: Tensor) -> Tensor:
        if codes.is_floating_point() or codes.is_complex() or codes.dtype is torch.bool:
            raise DtypeError(
                f"{op.label}: codes must be integers, got {codes.dtype}; use predict() on values."
            )
        if tuple(codes.shape[1:]) != op.shape:
            raise ShapeError(
                f"{op.label}: codes must have shape {_batch(op)}, got {tuple(codes.shape)}; reshape them."
            )
        edge = self._step(op.name).edge
        codes = codes.to(self.device)
        if self.check and codes.numel():
            low, high = (int(end) for end in codes.to(torch.int64).aminmax())
            if low < edge.low or high > edge.high:
                raise DtypeError(
                    f"{op.label}: codes must be in {edge.low}..{edge.high}, got {low}..{high}; "
                    "use predict() on values."
                )
        return codes.to(storage_dtype(edge.low, edge.high))

    @torch.no_grad()
    def _run(self, values: dict[str, Tensor], wanted: list[str], windows: int) -> dict[str, Tensor]:
        kept = set(wanted)
        result = {name: values[name].to(torch.int64) for name in wanted if name in values}
        for name, sources in self._sources.items():
            if name not in values:
                parts = [values[source] for source in sources]
                values[name] = self._step(name).in_windows(parts, windows)
                if name in kept:
                    result[name] = values[name].to(torch.int64)
            for dead in self._dead.get(name, ()):
                del values[dead]
        ordered = (name for name in self.network.ops if name in kept)
        return {name: by_window(result[name], windows).contiguous() for name in ordered}


def _stream(op: Input, values: Tensor, windows: int) -> Tensor:
    """``[N * W, *shape]`` of ``[W, N, *shape]``: sample after sample."""
    if windows > 1 and (values.dim() != len(op.shape) + 2 or len(values) != windows):
        raise ShapeError(
            f"{op.label}: a run of {windows} windows must have [{windows}, {_batch(op)[1:]}, got "
            f"{tuple(values.shape)}; stack them."
        )
    return cast("Tensor", in_order(values, windows))


def _batch(op: Input) -> str:
    return f"[N, {', '.join(map(str, op.shape))}]"


def encode(op: Input, values: Tensor, theta: Tensor, check: bool = True) -> Tensor:
    """Codes of real values where they and ``theta`` lie, in float32 as :func:`.spec.execute.encode`.

    Without ``check`` NaN is not looked for and gives any code.

    Raises:
        ShapeError: The sample shape differs from the input's.
        DtypeError: The values are no numbers or contain NaN.
    """
    if tuple(values.shape[1:]) != op.shape:
        raise ShapeError(
            f"{op.label}: values must have shape {_batch(op)}, got {tuple(values.shape)}; reshape them."
        )
    values = values.to(torch.float32)
    if check and bool(values.isnan().any()):
        raise DtypeError(f"{op.label}: values must be numbers, got NaN; clean the data first.")
    weight_sum = theta.new_full((), float(op.max_code))
    lsb = (theta / weight_sum).view(-1, *[1] * (values.dim() - 2))
    magnitude = values.abs() if op.signed else values
    half = NeuronParameters(op.time_steps, rounding=op.rounding).half
    code = nearest_code(magnitude, lsb, op.max_code, half, torch.Tensor.floor_, torch.Tensor.clip_)
    code = torch.copysign(code, values) if op.signed else code
    low = -op.max_code if op.signed else 0
    return code.to(storage_dtype(low, op.max_code))


class AcceleratedModel(nn.Module):
    """An accelerated network with real inputs and outputs, as the network it was made from.

    Attributes:
        accelerated: The :class:`AcceleratedNetwork`.
    """

    def __init__(self, network: Network, provider: str = "auto") -> None:
        super().__init__()
        self.accelerated = AcceleratedNetwork(network, provider=provider)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Outputs of ``x`` ``[N, *]`` in its dtype; a tuple where there are several."""
        outputs = [value.to(x.dtype) for value in self.accelerated.predict(x).values()]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def accelerate(
    net: nn.Module | Network, example_input: Tensor | None = None, *, provider: str = "auto", **widths: Any
) -> nn.Module:
    """The integer form of a network, run by the fastest exact route for each of its products.

    Args:
        net: An integer network (:func:`.spec.exchange.load`), an :class:`IntegerNetwork`, or a network of
            SpikePackNodes in packed form.
        example_input: For the latter: one batch of real values; gives the shapes.
        provider: Of the firing: ``"auto"``, ``"torch"`` or ``"cupy"``.
        **widths: For the latter: options of :func:`build_integer`.

    Returns:
        An :class:`AcceleratedNetwork` (codes in, membranes out), or for a network of nodes an
        :class:`AcceleratedModel` (real values in and out; what the integer form computes, see
        ``build_integer``).

    Raises:
        UnsupportedError: A node is not in packed form, no example is given, or a layer has no integer form.
        Others: As :func:`build_integer`.
    """
    if isinstance(net, Network):
        return AcceleratedNetwork(net, provider=provider)
    if isinstance(net, (AcceleratedNetwork, AcceleratedModel)):
        return net
    if isinstance(net, IntegerNetwork):
        device = next((buffer.device for buffer in net.buffers()), torch.device("cpu"))
        return AcceleratedNetwork(net.network, provider=provider).to(device)
    forms = {getattr(module, "form", None) for module in net.modules()} - {None}
    if forms != {"packed"}:
        raise UnsupportedError(
            f"accelerate: net must be an integer network or one of SpikePackNodes in packed form, got "
            f"{type(net).__name__} with forms {sorted(map(str, forms))}; call set_form(net, 'packed') first."
        )
    if example_input is None:
        raise UnsupportedError(
            "accelerate: a network of SpikePackNodes must come with one batch of inputs, got none; call "
            "accelerate(net, example_input)."
        )
    model = AcceleratedModel(build_integer(net, example_input, **widths), provider)
    return model.to(example_input.device).eval()
