"""`python -m worker demo`: the whole product on one machine, and everything held against a straight count."""
