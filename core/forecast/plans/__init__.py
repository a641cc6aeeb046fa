"""Plans: changes of a recipe that keep what is learned, and make it fit or faster."""
