"""Chooses which CPU implementation bitsandbytes runs. Import this before bitsandbytes.

bitsandbytes 0.50 has two for the blockwise ops: plain torch ("default": nearest code by midpoint, as its CUDA
kernels) and a native library whose 8-bit quantizer looks a value up in 65,536 bins, which merges the codes near zero.
The goldens come from the first; the second is run beside it to say where they differ.
"""

import ctypes
import os

MODE = os.environ.get("GOLDENS_BITSANDBYTES", "default")

if MODE == "default":
    _load = ctypes.cdll.LoadLibrary

    def _refuse(name: str) -> ctypes.CDLL:
        if "bitsandbytes" in str(name):
            raise OSError("the native library is left out on purpose: the plain torch ops make the goldens")
        return _load(name)

    ctypes.cdll.LoadLibrary = _refuse

import bitsandbytes  # noqa: E402

if MODE == "default":
    ctypes.cdll.LoadLibrary = _load
