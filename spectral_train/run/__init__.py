"""What a run's folder holds: its paths, plans, records, metrics, outputs and weights."""
