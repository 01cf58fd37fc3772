// Nobody erases the kitchen's iPads.

// @ts-check
import { allow, veto } from "pomona";

/** @type {import("pomona").CommandValidate} */
export const commandValidate = {
  validate(_context, _stage, device, _command) {
    if (device.groups.includes("Kitchen")) return veto("nobody erases the kitchen's iPads");
    return allow();
  },
};
