"""A residual network on images of 32 x 32, with augmentation."""
