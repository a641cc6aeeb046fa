"""One command a file, each with `run(args) -> exit status`; imported only when called, so that `--help` stays fast."""
