"""``python -m kvmfw``: the command line."""

from kvmfw.cli import main

if __name__ == "__main__":
    main()
