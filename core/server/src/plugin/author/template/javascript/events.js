// Every device that enrolls is asked for its name.

// @ts-check
import { command, enqueue, target } from "pomona";

/** @type {import("pomona").Events} */
export const events = {
  onEvents: (_context, batch) => batch.map(ask),
};

/** @param {import("pomona").Event} event */
function ask(event) {
  const name = command("DeviceInformation", { Queries: ["DeviceName"] }, "it is new");
  // Events come at least once: what has the same key is done once.
  return enqueue(`name/${event.id}`, target(event.device), name);
}
