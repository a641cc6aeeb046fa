"""The settings as a person looks for them: in groups, by a word, and with what an empty one stands for."""
