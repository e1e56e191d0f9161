"""Three hospitals with a CSV file each: other patients, other devices, one question."""
