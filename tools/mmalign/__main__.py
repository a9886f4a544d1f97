"""`python -m mmalign`: the same as the console script."""

from mmalign.cli import main

main()
