"""What a person asks about the counting: how it stands, why a row has its numbers, where an event is. Read only."""
