"""`python -m inhabit`."""

import sys

from inhabit.cli import main

if __name__ == "__main__":
    sys.exit(main())
