"""Reference implementations: one script per catalogued method, and their core."""
