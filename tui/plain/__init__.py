"""The wizard as numbered prompts, for terminals that can't show a screen."""
