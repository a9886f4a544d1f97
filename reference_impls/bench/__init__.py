"""Many runs side by side: one table, its baselines, studies over seeds, statistics."""
