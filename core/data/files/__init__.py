"""Files and data sets: where they are, how they are opened, and their records read one after the other."""
