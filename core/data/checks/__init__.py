"""A pass over all rows: what is wrong with them, and the report that says so."""
