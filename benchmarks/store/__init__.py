"""What is kept: outputs, scores, and what made them; and who is at what."""
