"""Questions to the records: what is there, what is near, what is missing, what changed."""
