"""`python -m fitune`: the same as the command `fitune`."""

from fitune.tui.__main__ import main

if __name__ == "__main__":
    main()
