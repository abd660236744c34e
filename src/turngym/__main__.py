"""`python -m turngym` and the console script."""


def main() -> None:
    """Run the command line."""
    from turngym.cli import app

    app()


if __name__ == "__main__":
    main()
