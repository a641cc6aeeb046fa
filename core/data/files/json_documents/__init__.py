"""JSON documents: read one row at a time, however the rows are arranged in them."""
