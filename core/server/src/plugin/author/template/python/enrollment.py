"""Devices that nobody supervises wait for an administrator."""

import pomona


class Enrollment(pomona.Enrollment):
    def decide(self, context, request):
        if request.device.supervised is False:
            return pomona.hold("it is not supervised")
        return pomona.admit()
