"""Reference implementations: one script per catalogued alignment method, and the core they share."""
