"""The built-in tasks. Your own task may be any module that Python can import."""
