"""What is answered over HTTP: the pages of specialists and of the operator, the API, `/metrics` and `/healthz`.

`server` runs `app`, which puts the routes together. `page` and `ops` answer requests, `page_view` and `ops_view` say
what stands on a page, `templates` and `static` how it looks; `access` says who may see it.
"""
