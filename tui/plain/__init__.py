"""The wizard as numbered questions, for terminals that can't show a screen."""
