"""What Prefect 1.4.1 did wrong: the checks that it is done right, one function each.

`tests/test_seed_defects.py` has the table of them. This is a package, so that pytest can be told to
explain the asserts in it.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{part}" for part in ("logs", "order", "polling", "outages", "views"))
)
