"""What it says: from scores to the cells of a table, with their intervals and tests."""
