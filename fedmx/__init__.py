"""What the server and the client programs share: settings, errors, logs, certificates and the link.

Importing it turns off Flower's telemetry and update check, and gRPC's own log lines. Both libraries read
these switches when they are first imported, and nothing about a site may leave it.
"""

from fedmx import libraries

__version__ = "0.1.0"
FLOWER_VERSION = "1.42.0"
"""The version of Flower that the apps are made for."""

libraries.silence()
