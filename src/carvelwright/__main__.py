"""python -m carvelwright."""

from carvelwright.cli import main

main()
