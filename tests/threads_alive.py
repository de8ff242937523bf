"""Which threads the package has running."""

import threading


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "dm_replay read-ahead"]
