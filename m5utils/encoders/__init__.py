"""What turns a picture into a vector."""
