"""Tasks that come with fedmx; a task of your own may live anywhere Python can import it from."""
