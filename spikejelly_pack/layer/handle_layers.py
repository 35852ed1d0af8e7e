"""Handlers of single layers: affine ones, pools, activations, normalisation, dropout, other neurons."""

from __future__ import annotations

from spikingjelly.activation_based import layer
from spikingjelly.activation_based.neuron.base_node import BaseNode
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage]

from ..neuron import SpikePackNode
from .dataflow import Kind
from .digits import CodeCompressor, compressor_of
from .handlers import Outcome, Site, handles, keep, name, replace, train_only
from .max_pool import SpikePackMaxPool2d, SpikePackValueMaxPool2d
from .members import nodes_of
from .synaptic_scale import ChannelConcat, SynapticScale
from .temporal import SpikePackWindow, TemporalWindow
from .window import FormModule

__all__: list[str] = []


@handles(SpikePackNode)
def spikepack_node(site: Site) -> Outcome:
    """The node itself; its packed amplitude has no place in binary spikes."""
    if not site.module.scale_output:
        return keep()
    return name(
        "its packed output is scaled by theta, its spikes stay 0 or 1",
        "fold theta into the consumers' weights and build it with scale_output=False",
    )


@handles(layer.MultiStepContainer, layer.StepModeContainer, layer.TLastMultiStepContainer)
def step_container(site: Site) -> Outcome:
    """Runs its members step by step, so nodes inside are in their pipelined form."""
    if not nodes_of(site.module):
        return keep()
    return name(
        f"{type(site.module).__name__} runs its nodes in single-step form, one window late",
        "use nn.Sequential in multi-step mode",
    )


@handles(
    layer.TemporalEffectiveBatchNorm1d, layer.TemporalEffectiveBatchNorm2d, layer.TemporalEffectiveBatchNorm3d
)
def temporal_batch_norm(_site: Site) -> Outcome:
    """Scales every time step by a parameter of its own."""
    return name(
        "it scales every time step of a window by itself", "use SpikingJelly's plain batch normalisation"
    )


@handles(
    FormModule,
    _ConvNd,
    nn.Linear,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.Upsample,
    nn.PixelShuffle,
    nn.AvgPool1d,
    nn.AvgPool2d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.ZeroPad2d,
    layer.VotingLayer,
    SynapticScale,
    ChannelConcat,
    layer.Dropout,
    layer.Dropout2d,
)
def affine(_site: Site) -> Outcome:
    """Affine in its trains (SpikingJelly's dropout keeps one mask for the window, so it is too)."""
    return keep()


@handles(nn.Sequential, nn.ModuleList, nn.ModuleDict)
def container(_site: Site) -> Outcome:
    """Its members are looked at one by one."""
    return keep()


@handles(nn.MaxPool2d)
def max_pool(site: Site) -> Outcome:
    """Digit-serial on node outputs, by windows anywhere else."""
    pool = site.module
    assert isinstance(pool, nn.MaxPool2d)
    if pool.return_indices:
        return name("the winner's index is not known until the last digit", "pool without return_indices")
    exact = SpikePackMaxPool2d if site.kind is Kind.SPIKES else SpikePackValueMaxPool2d
    reason = {
        Kind.SPIKES: "the digit-wise maximum of codes is not their maximum: digit-serial comparison instead",
        None: "its input is not known to be the spikes of one node: the window is decoded first",
    }.get(site.kind, "the maximum of T currents is not that of their charge: the window is decoded first")
    size = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return replace(exact(*size, ceil_mode=pool.ceil_mode, **site.window_arguments), reason)


@handles(
    nn.MaxPool1d,
    nn.MaxPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Softmax,
)
def activation(site: Site) -> Outcome:
    """Not affine and without parameters: applied to the decoded window, whose axes its container folded."""
    function = site.module if site.sequence is None else layer.SeqToANNContainer(site.module)
    return replace(
        SpikePackWindow(function, **site.window_arguments),
        "it is not affine in its spike trains: the window is decoded first",
    )


@handles(_BatchNorm)
def batch_norm(site: Site) -> Outcome:
    """Affine in eval mode, if it keeps running statistics."""
    if site.module.running_mean is None:  # pyright: ignore[reportUnnecessaryComparison]
        return name(
            "it normalises by the statistics of single steps, in eval mode too",
            "keep running statistics (track_running_stats=True)",
        )
    return train_only(
        "in training its statistics are those of single steps, not of decoded values",
        "train in packed form, or in eval mode of this layer",
    )


@handles(_DropoutNd)
def dropout(site: Site) -> Outcome:
    """Affine in eval mode; SpikingJelly's own draws one mask per window."""
    if getattr(site.module, "p", 0.0) == 0.0:
        return keep()
    return train_only(
        "in training it draws another mask for every time step", "use SpikingJelly's layer.Dropout"
    )


@handles(
    layer.TemporalWiseAttention,
    layer.MultiDimensionalAttention,
)
def temporal_attention(site: Site) -> Outcome:
    """Sees the T steps as a whole: applied to the decoded window, shown as T equal steps."""
    built_for = _steps_of(site.module)
    if built_for not in (None, site.code.time_steps):
        return name(
            f"its attention over time was built for T = {built_for}, the nodes have {site.code.time_steps}",
            "build the network with T equal to time_steps",
        )
    arguments = site.window_arguments
    del arguments["step_mode"]
    return replace(
        TemporalWindow(site.module, **arguments),
        "attention over time scales the digits of a code apart: the window is decoded first",
    )


def _steps_of(module: nn.Module) -> int | None:
    axis = getattr(module, "ta", module)  # the temporal axis of the multi-dimensional one, or None
    perceptron = getattr(axis, "sharedMLP", None)
    if perceptron is None:
        return None
    first = perceptron[0]
    return int(first.in_features if isinstance(first, nn.Linear) else first.in_channels)


@handles(BaseNode)
def other_neuron(site: Site) -> Outcome:
    """Neurons of other kinds depend on the order of their spikes, not on a code."""
    return name(
        f"{type(site.module).__name__} is not a SpikePackNode: it depends on the order of the time steps",
        "build the network with spiking_neuron=SpikePackNode",
    )


@handles("torch.distributed.algorithms._checkpoint.checkpoint_wrapper.CheckpointWrapper")
def checkpointed(site: Site) -> Outcome:
    """SpikingJelly's memory checkpointing: its binary compressors corrupt decoded values."""
    compressor = compressor_of(site.module)
    if compressor is None or isinstance(compressor, CodeCompressor):
        return keep()
    return name(
        f"{type(compressor).__name__} keeps binary spikes only and turns decoded values into 0 or 1",
        f"compress with CodeCompressor(time_steps={site.code.time_steps}), or without a compressor",
    )
