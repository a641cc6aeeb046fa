"""The screens of the wizard, one for each step."""
