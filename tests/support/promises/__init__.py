"""What a user is promised, on every server: tests that a test module runs by importing them all.

The module brings the fixture ``prefect``, a `ServerUnderTest`, and says ``from promises import *``.
No promise uses a server's own terms or depends on time: what happens to a run while it is watched
happens in reaction to its events.
"""

from promises.ends import *  # noqa: F403
from promises.log_lines import *  # noqa: F403
from promises.options import *  # noqa: F403
from promises.rows import *  # noqa: F403
from promises.shared import *  # noqa: F403
from promises.views import *  # noqa: F403
