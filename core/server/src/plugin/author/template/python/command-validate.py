"""Nobody erases the kitchen's iPads."""

import pomona


class CommandValidate(pomona.CommandValidate):
    def validate(self, context, stage, device, command):
        if "Kitchen" in device.groups:
            return pomona.veto("nobody erases the kitchen's iPads")
        return pomona.allow()
