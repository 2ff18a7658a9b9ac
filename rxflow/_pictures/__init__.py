"""What people look at: the tree of a run and its times, as text, as SVG and as an HTML page.

Pure, like the layers below: a picture is made of rows that were read, and of no clock. Belongs
here: what a picture shows and how it is drawn. Does not belong here: reading rows (``_views``) and
writing to a terminal (``cli``). A server's text enters a picture as data: `markup` and the page's
template escape it for HTML, `cells` for a terminal.
"""
