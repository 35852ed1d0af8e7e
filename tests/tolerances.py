"""The one table of float tolerances; the fixture ``tolerance`` hands it to the tests.

Integers, codes and spikes are compared exactly and need no entry here.

Derivation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). One rounded operation has
relative error at most u, the unit roundoff. k operations in a row, or a sum of k + 1 terms in any order, have
relative error at most ``gamma(k) = k u / (1 - k u)`` (for a sum: relative to the sum of the magnitudes of its
terms). Two computations of one value differ by at most twice that. No entry is tuned to a result.
"""

from __future__ import annotations

from dataclasses import dataclass

# Half the spacing of the floats just above 1: 2^-(bits of the stored significand + 1).
UNIT_ROUNDOFF = {
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    "float32": 2.0**-24,
    "float64": 2.0**-53,
}


@dataclass(frozen=True)
class Tolerance:
    """Rounding bounds of one float type."""

    dtype: str
    unit_roundoff: float

    def gamma(self, operations: int) -> float:
        """Return the relative error bound of a chain of rounded operations (dimensionless)."""
        lost = operations * self.unit_roundoff
        if lost >= 1.0:
            raise ValueError(f"{self.dtype}: {operations} operations leave no correct digit, no bound exists")
        return lost / (1.0 - lost)

    def between(self, operations: int, magnitude: float = 1.0) -> float:
        """Return the absolute bound between two computations of one value.

        Args:
            operations: rounded operations on the longer of the two ways; for a sum of n products, n.
            magnitude: sum of the magnitudes of the terms, or the value's own magnitude for a chain.
        """
        return 2.0 * self.gamma(operations) * magnitude


def tolerance_of(dtype: object) -> Tolerance:
    """Return the tolerances of a numpy or torch float type, or of its name ("torch.float32" or "float32")."""
    name = getattr(dtype, "__name__", None) or str(dtype)
    name = name.rsplit(".", maxsplit=1)[-1]
    if name not in UNIT_ROUNDOFF:
        raise KeyError(f"no float tolerance for {dtype!r}; known: {', '.join(UNIT_ROUNDOFF)}")
    return Tolerance(name, UNIT_ROUNDOFF[name])
