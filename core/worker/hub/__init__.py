"""The push to the Hub: upload, model card and its loss plot."""
