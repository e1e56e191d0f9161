"""The commands for a SuperLink fleet, which use Flower's command line: who may join it, and its runs."""
