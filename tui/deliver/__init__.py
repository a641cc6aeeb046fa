"""Deliver a trained model: the options, their needs, the screen and its questions."""
