"""The nouns that the method scripts share. Importing it loads torch and nothing heavier."""

from reference_impls.core.scores import PairBatch, Scores

__all__ = ["PairBatch", "Scores"]
