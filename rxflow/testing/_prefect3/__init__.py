"""A Prefect 3 server in memory: its rows, its filters, its routes.

Belongs here: what Prefect 3 stores and replies. Does not belong here: what both fake servers share
(connections, faults, gates, time), which is beside this package. Only `rxflow.testing` imports it.
"""
