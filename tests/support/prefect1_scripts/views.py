"""Print what the views of Prefect 1.4.1 return, as JSON; run by its Python 3.9.

Its arguments are the ids of a flow run and of a flow group.
"""

import json
import sys

from prefect import backend
from seed_calls import SeedCalls

results = SeedCalls(backend, lambda thing: type(thing).__name__).results(*sys.argv[1:])
print(json.dumps(results))  # noqa: T201 - its output
