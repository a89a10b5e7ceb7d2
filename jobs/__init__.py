"""What runs as an RQ job: one doorway a file, no logic, and what we know of RQ.

`queue` says what a job is and puts it in, `work` runs it, `keeper` never lets a shard's rollup get lost,
`view` tells an operator what there is.
"""
