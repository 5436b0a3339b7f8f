"""What is shipped: the image, the wheel, the list of what is in them."""
