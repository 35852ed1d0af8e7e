"""``write_nir``: a SpikePack network, of torch modules or of integers, as a NIR file."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor, nn

from ..spec.atomic import replacing
from ..spec.errors import OutputError, ParameterError
from ..spec.graph import Network
from .from_integer import integer_graph
from .from_torch import torch_graph
from .library import nir_package

__all__ = ["write_nir"]


def write_nir(
    net: nn.Module | Network, path: str | os.PathLike[str] | None, example_input: Tensor | None = None
) -> Any:
    """Write the packed form of a network as a NIR graph.

    NIR: Pedersen et al., Neuromorphic intermediate representation (2024), doi 10.1038/s41467-024-52259-9. A
    population becomes a sub-graph that fires its digits without time, see :mod:`.digits`.

    Args:
        net: A network of SpikePackNodes and SpikingJelly's or torch's layers (BatchNorm is folded), or an
            integer network, as :func:`.build_integer` and the exchange file have it: integer weights, codes
            as values.
        path: Target, by custom ``*.nir``; written whole or not at all. None writes nothing.
        example_input: One batch ``[N, *]``; gives the shapes of a network of modules. Integer networks know
            theirs.

    Returns:
        The ``nir.NIRGraph``.

    Raises:
        UnsupportedError: An operation has no counterpart in NIR; the message names it.
        ParameterError: The example input is missing or no batch.
        ShapeError: The network does not take the example input.
        EnvironmentMissingError: The package ``nir`` is not installed.
        OutputError: The file cannot be written.
    """
    nir = nir_package()
    if isinstance(net, Network):
        writer = integer_graph(net)
    else:
        if not isinstance(example_input, Tensor) or example_input.dim() < 2 or not len(example_input):
            got = tuple(example_input.shape) if isinstance(example_input, Tensor) else example_input
            raise ParameterError(
                f"NIR: example_input must be a batch [N, *] for a network of modules, got {got}; pass one "
                "batch of inputs."
            )
        writer = torch_graph(net, example_input)
    graph = writer.graph({"writer": "spikejelly-pack"})
    if path is not None:
        with replacing(path) as temporary:
            try:
                nir.write(temporary, graph)
            except OSError as error:
                raise OutputError(
                    f"{path}: the disk must hold the file, got {error}; choose another output path."
                ) from None
    return graph
