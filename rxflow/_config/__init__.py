"""Settings: turn arguments, environment variables and files of either Prefect into `Settings`.

Belongs here: where a setting is looked up, which source has precedence, how its text is parsed, and
which credentials may be sent to which server. Does not belong here: connections (`_net`). Files are
read here; nothing else is opened, and Prefect, whose import takes seconds, is never imported.

`_net`, `client` and the layers above them may import it.
"""
