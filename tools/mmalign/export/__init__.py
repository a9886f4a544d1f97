"""Exports: one pure function per format, from data to text, byte-identical on every run.

`bibtex`, `awesome` and `rows` take the JSON views of `mmalign.ask.views`; `graphs` takes the graph.
"""
