"""The wizard: what was answered so far, its steps in order, and what each step says."""
