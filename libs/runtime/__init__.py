"""What every service needs alike."""

from libs.runtime.cancellation import keep_cancellations

keep_cancellations()
