"""Lets ``python -m tinygrad_nn`` run the command line."""

from tinygrad_nn.cli import main

if __name__ == "__main__":
    main()
