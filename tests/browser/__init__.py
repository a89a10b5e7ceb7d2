"""What people see: a real browser against the real web process."""
