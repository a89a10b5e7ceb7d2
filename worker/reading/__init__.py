"""What the numbers of a specialist are, for a period: the one definition behind the page, the API and the command line.

`period` says which days, `read` fetches them, `figures` makes them what `shape` describes.
"""
