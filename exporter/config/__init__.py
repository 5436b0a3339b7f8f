"""Configuration: YAML to frozen, validated models; every error at once, with file, line and key."""
