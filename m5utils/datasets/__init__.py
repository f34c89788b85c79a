"""What is stored: labelled images, and the drawn world that stands in for them."""
