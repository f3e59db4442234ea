"""The harness: a config names systems, data and metrics; the plan turns it into content-addressed units of work; workers fill
the store; tables only read the store. Nothing is identified by a file or folder name.
"""
