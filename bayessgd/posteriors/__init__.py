"""What iterates become: distributions over parameters."""
