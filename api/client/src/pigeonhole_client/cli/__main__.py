"""`python -m pigeonhole_client.cli`: the command where its script is not on the path."""

from pigeonhole_client.cli import main

main()
