"""`rxflow.relay`: one process polls Prefect, and any number of processes read what it found.

A relay appends the events of each run to a log of that run on a message broker; readers take them
from there as a stream like any other. Where one process is enough, no broker is needed.

Belongs here: what a log of events on a broker is, who writes it and how it is read. Does not belong
here: which events there are; a relay watches runs as your own program would. Nothing in rxflow
imports it but the command line.

    _broker.py    what is required of a broker: the protocol that each backend implements
"""
