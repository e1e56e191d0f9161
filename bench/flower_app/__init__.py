"""The null app, as a folder that `flwr run` can ship; the other engines import its modules from here."""
