"""Commands that start, follow, stop and compare trainings."""
