"""Adapter and model merged into one, tensor by tensor, and the proof that both answer alike."""
