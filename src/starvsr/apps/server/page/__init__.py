"""The page of the server: Gradio lays out the controls, our own scripts do transfer, progress and player by the API.

No event of the page is handled by Gradio's server half: its endpoints for uploads, files, queues and calls are not
reachable (`gate`). What a user may do from the page is what the API lets them do. Read in this order: `controls` (a
component for each option), `layout` (the page), `gate` (what of Gradio is served), `mounting`; then ``static/app.js``.
"""
