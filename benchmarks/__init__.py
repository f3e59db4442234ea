"""The harness: a config names systems, data and metrics; the plan turns it into content-addressed units of work; workers fill
the store; tables only read the store. Outputs and scores are identified by content, never by a file or folder name.
"""

from benchmarks import sources as sources  # first of all: the code as it is now
