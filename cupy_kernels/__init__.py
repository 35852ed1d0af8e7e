"""CUDA kernels of SpikePack, launched through CuPy.

The package is a leaf: it imports neither its siblings nor, at import time, CuPy. Kernels arrive with the GPU
work; until then there is nothing here to launch.
"""
