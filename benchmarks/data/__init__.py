"""Datasets: tracks of four stems, their manifests, and the excerpts that systems are run on."""
