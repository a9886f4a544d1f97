"""Training: what is scored and how it is trained."""
