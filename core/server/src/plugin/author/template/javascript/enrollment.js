// Devices that nobody supervises wait for an administrator.

// @ts-check
import { admit, hold } from "pomona";

/** @type {import("pomona").Enrollment} */
export const enrollment = {
  decide(_context, request) {
    if (request.device.supervised === false) return hold("it is not supervised");
    return admit();
  },
};
