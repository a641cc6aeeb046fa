"""Parts of the watch screen: the charts, the log, the recipe."""
