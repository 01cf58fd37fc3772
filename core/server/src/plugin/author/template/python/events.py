"""Every device that enrolls is asked for its name."""

import pomona


class Events(pomona.Events):
    def on_events(self, context, batch):
        return [ask(event) for event in batch]


def ask(event):
    name = pomona.command("DeviceInformation", {"Queries": ["DeviceName"]}, "it is new")
    # Events come at least once: what has the same key is done once.
    return pomona.enqueue(f"name/{event.id}", pomona.target(event.device), name)
