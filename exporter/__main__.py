"""`python -m exporter` is `hafnium-exporter`."""

from exporter.cli.main import main

if __name__ == "__main__":
    main()
