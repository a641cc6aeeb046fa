"""What a training does by itself when something goes wrong: a damaged checkpoint, a full disk, no memory, NaN."""
