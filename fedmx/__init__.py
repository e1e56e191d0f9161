"""What the server and the client program both stand on: settings, errors, logs and the link.

Importing it turns off Flower's telemetry and update check, because Flower reads both switches when it is
first imported and nothing about a site may leave it.
"""

from fedmx.settings import silence_flower

__version__ = "0.1.0"

silence_flower()
