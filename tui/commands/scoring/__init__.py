"""Commands that tell if a training was worth it."""
