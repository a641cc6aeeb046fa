"""What to do with a trained model: the options, what each needs, the screen and its questions."""
