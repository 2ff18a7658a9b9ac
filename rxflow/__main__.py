"""``python -m rxflow``: the command line."""

from rxflow.cli import main

if __name__ == "__main__":
    main()
