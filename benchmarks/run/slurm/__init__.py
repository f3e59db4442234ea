"""Units as jobs of a Slurm cluster."""
