"""A Prefect 1 server in memory: its tables, its GraphQL gateway, its mutations.

Belongs here: what Prefect Server 1 stores and replies. Does not belong here: what both fake servers
share (connections, faults, gates, time), which is beside this package. Only `rxflow.testing`
imports it. `gateway`, `query_validation` and `graphql_responses` need graphql-core, which is an
optional dependency; the other modules must not import it.
"""
