"""Models of the lab and of real runs: encoding, sampling, policies."""
