// Values for tests, as TypeScript sees them.

import type { CallContext, Draft, Event, Snapshot } from "./index.js";

/** An iPad of which nothing more is known, with `more` members. */
export function device(more?: Partial<Snapshot>): Snapshot;
/** Facts as the text in which a device has them. */
export function factsJson(values: Record<string, unknown>): string;
/** The context of a first call, at this time in milliseconds since 1970 UTC. */
export function context(nowMs?: number): CallContext;
/** A command that an administrator asks for. */
export function draft(requestType: string, payload?: object): Draft;
/** An event of the device of `device`, with `more` members. */
export function event(kind: string, body?: object, more?: Partial<Event>): Event;
