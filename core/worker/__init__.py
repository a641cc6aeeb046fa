"""The worker: the process that trains, prepares, merges, exports or pushes, and writes events. It needs no terminal.

Started by name: `python -m fitune.core.worker RUN JOB`.
"""
