"""What users see of the platform in one process they see of the one in containers: the same tests, through Caddy."""

from tests.e2e.test_behind_its_back import *  # noqa: F403
from tests.e2e.test_life import *  # noqa: F403
from tests.e2e.test_live import *  # noqa: F403
from tests.e2e.test_stacks import (
    test_files_folders_and_volumes_are_seen_where_the_author_put_them_and_kept,
    test_nothing_of_the_platform_s_own_environment_reaches_a_stack,
)

__all__ = [
    "test_files_folders_and_volumes_are_seen_where_the_author_put_them_and_kept",
    "test_nothing_of_the_platform_s_own_environment_reaches_a_stack",
]
