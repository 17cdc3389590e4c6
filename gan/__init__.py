"""Small GANs whose loss switches between KL-style, Wasserstein and Sinkhorn distances."""
