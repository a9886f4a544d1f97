"""The baselines' pure losses; a method's own terms stand in its script."""
