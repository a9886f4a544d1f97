"""Benchmarks of real models: questions of published files, answers, scores, exports.

Reading, scoring and exporting need the standard library only, so that answers of others are scored
(`--score-only`) without torch. `generate` is what loads a model.
"""
