"""Who does it: units computed and scored, in this process, in several, or on a cluster."""
