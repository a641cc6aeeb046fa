"""Widgets of the wizard alone."""
