"""The other process: trains, writes events, and needs nobody. Started by name (`python -m core.worker RUN JOB`)."""
