"""Rows, who judges them, and where answers come from."""
