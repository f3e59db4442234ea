"""Metrics: each names in its signature everything that its numbers depend on."""
