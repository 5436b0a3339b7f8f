"""What is exported: family declarations, the store of encoded samples, and the two text formats."""
