"""What an operator or the web tier asks for: runs, each a generator of steps that any worker can go on with.

`registry` names all kinds, `runs` keeps their rows in PostgreSQL, `execute` does their steps; the other modules are the
kinds themselves, and `…_view` is what the command line shows of them.
"""
