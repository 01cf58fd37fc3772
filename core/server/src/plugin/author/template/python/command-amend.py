"""A locked device tells where it belongs."""

import pomona


class CommandAmend(pomona.CommandAmend):
    def amend(self, context, command):
        # Asked again with the change in it, there is nothing left to change.
        if command.payload("Message") is not None:
            return []
        return [pomona.set_value("/Message", "Please bring me back to the library")]
