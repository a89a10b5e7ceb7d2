"""Who is told when something is wrong: `alerts` decides, `store` remembers, `watch` tells, by `webhook`."""
