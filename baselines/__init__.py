"""What GMSDI is measured against: one file a system."""
