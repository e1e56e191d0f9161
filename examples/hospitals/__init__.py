"""Three hospitals with a CSV file each: different patients, one question."""
