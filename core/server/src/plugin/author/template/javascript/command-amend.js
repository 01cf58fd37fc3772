// A locked device tells where it belongs.

// @ts-check
import { payload, set } from "pomona";

/** @type {import("pomona").CommandAmend} */
export const commandAmend = {
  amend(_context, command) {
    // Asked again with the change in it, there is nothing left to change.
    if (payload(command, "Message") !== undefined) return [];
    return [set("/Message", "Please bring me back to the library")];
  },
};
