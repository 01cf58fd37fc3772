// Welcome: every device that enrolls is asked what it is, and a fact tells when it came.
//
// Shows how events become effects: nothing is written here, the host carries out what is returned.

// @ts-check
import { command, enqueue, setFact, target } from "pomona";

/** @type {import("pomona").Events} */
export const events = {
  onEvents(_context, batch) {
    // A user channel belongs to a device that was welcomed already.
    return batch.filter((event) => event.kind === "enrolled" && event.user === null).flatMap(welcome);
  },
};

/** @param {import("pomona").Event} event */
function welcome(event) {
  const device = target(event.device);
  const queries = { Queries: ["DeviceName", "OSVersion", "IsSupervised"] };
  const inventory = command("DeviceInformation", queries, "the device has just enrolled");
  // The event's id in the key: whatever is delivered twice is done once.
  return [
    enqueue(`ask/${event.id}`, device, inventory),
    setFact(`note/${event.id}`, device, "since-ms", event.atMs),
  ];
}
