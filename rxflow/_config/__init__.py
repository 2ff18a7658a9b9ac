"""Settings: arguments, environment variables and files of either Prefect become `Settings`.

Belongs here: where a setting is looked up, which source wins, what its text means, and which
credentials may be sent to which server. Does not belong here: connections (`_net`). Files are read
here, nothing else is opened, and Prefect is never imported.

`_net`, `client` and the layers above them may import it.
"""
