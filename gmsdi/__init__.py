"""Generalized Multi-Source Diffusion Inference (GMSDI): the method, usable as a library with no benchmark around it."""

STEMS = ("bass", "drums", "guitar", "piano")
"""The four stems of Slakh2100 separation, in the order of MSDM's code; every stem axis in this project has this order."""

SAMPLE_RATE = 22_050
"""Hz; what MSDM, Weakly Supervised MSDM and GMSDI run at."""
