"""The views `FlowRunView`, `TaskRunView` and `FlowView`, and the polls that they read with.

Belongs here: what a view shows, how a task run is selected and cached, where a result is read from.
Does not belong here: what a snapshot is (`_watching.fold`), how a poll is carried out (`client`),
which rows prove a log complete (`_logs`).

`operators` may import it to check a client, and `watch`, `views`, `agents` and the layers above.
"""
