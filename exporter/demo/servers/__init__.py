"""Real servers on loopback ports, from Python wheels and from Debian packages, one file each."""
