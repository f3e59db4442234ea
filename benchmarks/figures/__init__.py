"""Figures of finished results, for papers and pages: each is ``python -m benchmarks.figures.NAME OUT.png …`` and computes nothing new.

================  ====================================================================
evaluations.py    how quality grows with what sampling costs, from files of ``gmsdi tune``
spectrograms.py   what the systems of a store make of one song, beside the truth
canvas.py         what all of them look like, and how they are written
================  ====================================================================
"""
