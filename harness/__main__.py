"""Entry point of the command: as little as possible happens before Ctrl-C is understood."""

import sys


def main() -> None:
    """Run the command line; an interrupt while it is still being imported ends with 130."""
    try:
        from harness.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("harness: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
