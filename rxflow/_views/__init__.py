"""The views `FlowRunView`, `TaskRunView` and `FlowView`, and the polls that they read with.

Belongs here: what a view shows, how a task run is selected and cached, where a result is read from.
Does not belong here: what a snapshot is (`_watching.fold`), how a poll is carried out (`client`),
which rows prove a log complete (`_logs`).

`views`, `agents` and the layers above them may import it.
"""
