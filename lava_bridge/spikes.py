"""How a code travels through Lava: digit by digit, or as the payload of one graded spike."""

from __future__ import annotations

from spikejelly_pack.spec.errors import ParameterError

__all__ = ["SPIKES", "check_spikes"]

SPIKES: dict[str, str] = {
    "serial": "one digit per time step, most significant first: binary spikes (signed: ternary)",
    "graded": "the code as the payload of a graded spike: one time step per window",
}


def check_spikes(name: str) -> str:
    """Return ``name`` if it is a spike mode, else raise :class:`ParameterError`."""
    if name not in SPIKES:
        raise ParameterError(
            f"simulate: spikes must be one of {sorted(SPIKES)}, got {name!r}; choose one of these."
        )
    return name
