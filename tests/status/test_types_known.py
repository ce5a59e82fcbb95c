"""The status service, alone in its process, can read whatever its stream holds."""

import json
import subprocess
import sys

from libs.contracts.schemas import SPEAKERS
from libs.contracts.streams import EVENTS

ASK = """
import json, services.status.app
from libs.contracts.envelope import Message
print(json.dumps(sorted(Message.registry)))
"""


def test_every_type_of_the_events_is_known_to_the_service_by_itself() -> None:
    said = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
    kept = {message.type for message in SPEAKERS if message.subject_form.filter() in EVENTS.subjects}
    assert len(kept) > 10
    assert kept - set(json.loads(said)) == set()
