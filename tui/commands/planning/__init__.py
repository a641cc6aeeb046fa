"""Commands before a training: memory and speed, presets, the data report, the check of the machine."""
