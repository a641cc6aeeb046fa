"""What a training leaves on the disk: checkpoints, a copy of the run elsewhere, and its adapter."""
