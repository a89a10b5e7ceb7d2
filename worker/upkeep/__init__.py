"""What the schedule keeps in order, and how its lines ran."""
