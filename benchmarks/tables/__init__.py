"""Tables: what was measured and what was reported, in a form that a renderer cannot confuse."""
