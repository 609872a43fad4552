"""Kernelite: kernels that make a PyTorch model faster, and the proof that they do."""

__version__ = "0.1.0"
