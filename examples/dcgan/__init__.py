"""A deep convolutional GAN: two networks, two trainers."""
