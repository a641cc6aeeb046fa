"""Chat with a trained model and its base, side by side."""
