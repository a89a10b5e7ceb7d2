"""Everything at once, for as long as one likes: kills, cuts and restarts at random while events come in."""
