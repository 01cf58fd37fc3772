// Ticket bridge: for every rule that a device begins to fail, a ticket in an outside system.
//
// Shows a request to the outside with a secret that the plugin never sees, and what a failure becomes: where the other side may be
// better later, the events come again, with growing pauses; where it refuses, the ticket is given up and told in the log.

// @ts-check
import { AccessError, body, emit, httpOut, log, misconfigured, retryable, settings } from "pomona";

/** @type {import("pomona").Events} */
export const events = {
  onEvents(_context, batch) {
    const { url = "https://desk.example.org/tickets", severities = ["high", "critical"] } = settings();
    return batch
      .map((event) => ({ event, told: body(event) }))
      .filter(({ told }) => told.verdict === "fail" && severities.includes(told.severity))
      .flatMap(({ event, told }) => open(url, event, told));
  },
};

/**
 * @param {string} url
 * @param {import("pomona").Event} event
 * @param {any} told
 */
function open(url, event, told) {
  const ticket = {
    // The other side can tell by it that a ticket comes twice.
    key: event.id,
    title: `${told.title}: ${told.message}`,
    device: event.device,
    severity: told.severity,
  };
  const reply = send({
    method: "POST",
    url,
    headers: [
      ["content-type", "application/json"],
      ["authorization", "secret:desk-token"],
    ],
    body: utf8(JSON.stringify(ticket)),
    timeoutMs: 3_000,
  });
  if (reply.status === 429 || reply.status >= 500) throw retryable(`the desk answers ${reply.status}`);
  if (reply.status >= 300) {
    log.error("the desk refuses a ticket", { status: reply.status, event: event.id });
    return [];
  }
  return [emit(`ticket/${event.id}`, event.device, "ticket", { rule: told.rule, status: reply.status })];
}

/** @param {Parameters<typeof httpOut.send>[0]} message */
function send(message) {
  try {
    return httpOut.send(message);
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    // A right, an address or a secret that is not good stays so until somebody mends it; all else may be better later.
    if (error.tag === "not-found") throw misconfigured("the secret desk-token is not set");
    if (error.tag === "denied" || error.tag === "invalid") throw misconfigured(error.message);
    throw retryable(`the desk cannot be reached: ${error.message}`);
  }
}

/** @param {string} text */
function utf8(text) {
  const encoded = unescape(encodeURIComponent(text));
  return Uint8Array.from(encoded, (letter) => letter.charCodeAt(0));
}
