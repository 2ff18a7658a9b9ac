"""Checks that rxflow does not have the defects of Prefect 1.4.1, one function for each defect.

They are no tests by themselves: the table in `tests/test_seed_defects.py` lists each check with the
defect's number and runs it on each server. `scenes.py` has what the checks share.
"""

import pytest

pytest.register_assert_rewrite(  # as in a test module, so that a failure shows the values
    *(f"{__name__}.{part}" for part in ("logs", "order", "polling", "outages", "views"))
)
