"""`python -m headworks` is the `headworks` command."""

from headworks.cli import main

main()
