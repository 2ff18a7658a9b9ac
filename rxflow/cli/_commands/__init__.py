"""The commands, one module each, which is imported when its command is run.

Also for its ``--help``, so a module imports what watching needs (httpx, reactivex, rich) inside the
command. It holds the options and the order of the steps; how runs are found, followed and shown
stands in the modules beside this package. Only `group` may import a command.
"""
