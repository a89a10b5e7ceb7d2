"""`python -m worker doctor`, and what is checked at every start: facts about servers, and what to think of them.

Each module reads the facts about one thing and judges them by pure functions, of which each makes one `Check`.
"""
