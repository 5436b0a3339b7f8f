"""What the redis probe is made of: the families, and what INFO, a cluster and Sentinels say, recorded into them."""
