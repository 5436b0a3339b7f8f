"""What the repository needs for itself: pages that tell the truth, the site, releases."""
