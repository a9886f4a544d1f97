"""mmalign: a checked knowledge base of multimodal-LLM alignment.

>>> import mmalign
>>> kb = mmalign.load()          # doctest: +SKIP

Importing the package imports nothing else: the records' models cost 0.1 s, which `mmalign --help`
must not pay.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str):
    # `mmalign.load` is the module mmalign/load.py, which can be called like its function `load`:
    # once that module is imported, Python binds this name to it, whatever stood here before.
    if name == "load":
        import importlib

        return importlib.import_module("mmalign.load")
    raise AttributeError(f"module 'mmalign' has no attribute '{name}'")
