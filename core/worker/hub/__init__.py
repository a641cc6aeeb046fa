"""A push to the Hub: files, model card and loss curves."""
