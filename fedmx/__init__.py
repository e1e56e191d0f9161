"""What the server and the client program both stand on: settings, errors, logs and the link.

Importing it turns off Flower's telemetry and update check, and gRPC's own lines, because both look at their
switches when they are first imported, and nothing about a site may leave it.
"""

__version__ = "0.1.0"

from fedmx.settings import silence_libraries

silence_libraries()
