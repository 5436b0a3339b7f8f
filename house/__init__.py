"""What the repository needs for itself: the site made of its documentation, and its releases. No part of the package."""
