"""Entropy in bits of spike trains: from counts, and exactly for SpikePack codes of a Gaussian membrane.

A neuron that starts from a known state is a function of its input, so the mutual information between
input and output train is the entropy of the train: ``I(X; S) = H(S) - H(S | X) = H(S)``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..spec.equations import least_significant
from ..spec.errors import ParameterError, ShapeError, UnsupportedError
from ..spec.parameters import NeuronParameters

__all__ = ["gaussian_code_entropy", "gaussian_code_probabilities", "miller_madow", "plugin_entropy", "words"]

Counts = NDArray[np.int64]


def words(trains: ArrayLike) -> NDArray[np.int64]:
    """Name each distinct train by a number.

    Args:
        trains: Output values ``[T, N]``; a column is the train of one trial. Any values: spikes, signed
            spikes, counts or decoded numbers.

    Returns:
        ``[N]``, equal numbers where the whole columns are equal, 0..K-1 for K distinct trains.

    Raises:
        ShapeError: ``trains`` is not a table.
    """
    table = np.asarray(trains)
    if table.ndim != 2:
        raise ShapeError(
            f"words: trains must be [T, N], got {table.ndim} axes; put one trial into each column."
        )
    if not table.size:
        return np.zeros(table.shape[1], np.int64)
    return np.unique(table, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _probabilities(counts: ArrayLike) -> tuple[NDArray[np.float64], float]:
    found = np.asarray(counts, np.float64).reshape(-1)
    if (found < 0).any() or not found.sum():
        raise ParameterError(
            "entropy: counts must be nonnegative with a positive sum, got none or a negative one; "
            "count at least one trial."
        )
    return found[found > 0] / found.sum(), float(found.sum())


def plugin_entropy(counts: ArrayLike) -> float:
    """Entropy in bits of the relative frequencies; too small by about ``(K - 1) / (2 N ln 2)``.

    Raises:
        ParameterError: No trial was counted.
    """
    share, _trials = _probabilities(counts)
    return float(-(share * np.log2(share)).sum())


def miller_madow(counts: ArrayLike) -> float:
    """Entropy in bits with the first-order bias removed: plug-in plus ``(K - 1) / (2 N ln 2)``.

    K counts the trains seen. Source: G. Miller, "Note on the bias of information estimates" (1955), after L.
    Paninski, doi 10.1162/089976603321780272.

    Raises:
        ParameterError: No trial was counted.
    """
    share, trials = _probabilities(counts)
    return plugin_entropy(counts) + (share.size - 1) / (2.0 * trials * math.log(2.0))


def gaussian_code_probabilities(
    params: NeuronParameters, threshold: float, mean: float, std: float
) -> NDArray[np.float64]:
    """Probability of each code of a SpikePack neuron whose membrane ``U`` is Gaussian.

    Args:
        params: Constants of the neuron; tau must be 2 and leak 0.
        threshold: Its threshold theta.
        mean: Mean of the membrane, in the threshold's unit.
        std: Its standard deviation, positive.

    Returns:
        Probabilities of ``0..2^T - 1``; signed of ``-(2^T - 1)..2^T - 1``. They sum to 1.

    Raises:
        UnsupportedError: tau is below 2 or the neuron leaks between windows: no closed form.
        ParameterError: ``threshold`` or ``std`` is not positive.
    """
    if params.tau != 2.0 or params.leak != 0.0:
        raise UnsupportedError(
            "gaussian_code_probabilities: the neuron must have tau = 2 and leak = 0, got "
            f"tau={params.tau} and leak={params.leak}; use neuron_information, which samples."
        )
    for name, value in (("threshold", threshold), ("std", std)):
        if not value > 0.0:
            raise ParameterError(
                f"gaussian_code_probabilities: {name} must be positive, got {value}; raise it."
            )
    # The code reaches k at (k - half) LSBs; a signed code mirrors that, and zero lies between.
    lsb = least_significant(threshold, params.weight_sum)
    edges = (np.arange(1, params.max_code + 1) - params.half) * lsb
    if params.signed:
        edges = np.concatenate([-edges[::-1], edges])
    below = np.array([_below((edge - mean) / std) for edge in edges])
    return np.diff(np.concatenate([[0.0], below, [1.0]]))


def _below(deviate: float) -> float:
    return 0.5 * math.erfc(-deviate / math.sqrt(2.0))


def gaussian_code_entropy(params: NeuronParameters, threshold: float, mean: float, std: float) -> float:
    """Exact information in bits that a SpikePack code carries about its Gaussian membrane.

    Arguments and errors are those of :func:`gaussian_code_probabilities`.
    """
    share = gaussian_code_probabilities(params, threshold, mean, std)
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
