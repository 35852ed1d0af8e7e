"""Which form computes a convolution: event by event, or by line buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.graph import Conv2d, Network

from .design import Stream
from .line import obstacle
from .options import Options
from .resolve import Links

__all__ = ["DENSITY", "form_of"]

DENSITY = 0.3  # of digits that are not zero, where no samples say


def form_of(
    network: Network, name: str, links: Links, streams: Mapping[str, Stream], options: Options
) -> str:
    """``line`` or ``event``; with the reason where ``line`` was asked for; empty where nothing is convolved.

    Raises:
        UnsupportedError: The population itself was asked to take line buffers and cannot.
    """
    asked = options.of(name, "convolution")
    own = getattr(options.per.get(name), "convolution", None)
    if all(type(network.ops[link.synapse]) is not Conv2d for link in links.links) and own != "line":
        return ""
    reason = obstacle(network, links, streams)
    if reason is not None:
        if own == "line":
            raise UnsupportedError(
                f"{network.ops[name].label}: convolution='line' needs one convolution of all channels alone, "
                f"but {reason}; use convolution='event' for it."
            )
        return "event" if asked == "event" else f"event: {reason}"
    if asked == "auto":
        return "line" if _faster(links, streams) else "event"
    return asked


def _faster(links: Links, streams: Mapping[str, Stream]) -> bool:
    """Whether line buffers take fewer cycles at the assumed density; folding counts alike in both forms."""
    (link,) = links.links
    stream = streams[link.source]
    taps = math.prod(link.kernel.shape[-2:])
    events = taps * stream.grid[0] * stream.time_steps * DENSITY
    slices = stream.code_bits * (1 - (1 - DENSITY) ** (taps * stream.fire))
    return stream.beats_per_position * max(slices, link.kernel.shape[-1]) < events
