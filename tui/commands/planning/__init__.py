"""Commands before a training: what fits, how fast, what the data hold, whether the machine is well."""
