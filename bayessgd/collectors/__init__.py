"""What keeps the iterates of an optimizer."""
