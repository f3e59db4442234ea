"""What is to be done: systems and what identifies them, tasks, and units of work."""
