"""What users see of the platform in one process they see of the one in containers: the same tests, through Caddy."""

from tests.e2e.test_behind_its_back import *  # noqa: F403
from tests.e2e.test_life import *  # noqa: F403
from tests.e2e.test_live import *  # noqa: F403
