"""The federation's certificate authority: its command line and the bundles of sites."""
