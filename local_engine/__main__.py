"""`python -m local_engine`: the child that serves one model."""

import sys

from local_engine.serve import main

if __name__ == "__main__":
    sys.exit(main())
