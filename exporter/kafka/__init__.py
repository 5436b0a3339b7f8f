"""What the kafka probe is made of: the families, and what a reading of a cluster says, as their samples."""
