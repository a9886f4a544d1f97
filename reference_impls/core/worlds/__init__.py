"""Worlds whose truth is known exactly, one module or package each. See `protocol`."""
