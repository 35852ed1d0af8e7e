"""From an integer network to synthesizable SystemVerilog, its simulation, and what it costs on a device."""

from __future__ import annotations
