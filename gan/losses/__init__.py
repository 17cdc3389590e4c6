"""GAN losses, one idea a file."""
