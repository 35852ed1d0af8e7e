"""Equations, integer reference, network graph and exchange file of SpikePack.

A leaf of the house: numpy and the standard library only (plus ``safetensors`` in
:mod:`spikejelly_pack.spec.exchange`), importable on Python 3.10 beside Lava. Everything that other
rooms compute is written here once; they call it or are tested against it.
"""
