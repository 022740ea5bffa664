"""`python -m router` is `ringfence`."""

from router.cli import main

main()
