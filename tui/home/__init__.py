"""Home: this machine's runs, what came of each, and what can be done with them."""
