"""The server: a queue of jobs that survives restarts, worker processes, and an HTTP API.

From the bottom up: `settings`, `errors`, `fields` (what a request may ask for), `records` and `store` (what is kept),
`places` (files), `worker` and `worker_process` (one process for each device), `checks` (inputs are looked at before
they are queued), `dispatcher` (the queue at work), `login`, and the routes, put together by `application`.
"""
