// The contract `pomona:hooks@0.9.0` as TypeScript sees it, and the functions of the SDK. Meaning and bounds of every field
// stand in the contract itself. Times are whole milliseconds since 1970 UTC; 64-bit numbers are numbers, exact to 2^53.

export interface Case<Tag extends string, Val> { tag: Tag; val: Val }
export interface Bare<Tag extends string> { tag: Tag }

export interface Fact { key: string; valueJson: string; source: string; observedMs: number }
export interface CallContext {
  tenant: string; plugin: string; version: string; hook: string; callId: string; attempt: number;
  nowMs: number; seed: number; dryRun: boolean; cause: string | null; depth: number;
}
export interface Diagnostic { path: string; message: string; fatal: boolean }

export type Platform =
  | Bare<"ios"> | Bare<"ipados"> | Bare<"macos"> | Bare<"tvos"> | Bare<"watchos"> | Bare<"visionos"> | Case<"other", string>;
export type EnrollmentKind =
  | Bare<"automated"> | Bare<"profile"> | Bare<"account-driven-device"> | Bare<"account-driven-user"> | Case<"other", string>;
export type Channel = Bare<"device"> | Case<"user", string> | Case<"other", string>;
export interface Target { device: string; channel: Channel }
export interface Snapshot {
  id: string; channel: Channel; udid: string | null; serial: string | null; platform: Platform; model: string;
  osVersion: string; osBuild: string; supervised: boolean | null; sharedIpad: boolean | null; kind: EnrollmentKind;
  timeZone: string | null; groups: string[]; seenMs: number; revision: number; factsJson: string;
}

export type Actor = Bare<"person"> | Bare<"plugin"> | Bare<"system"> | Case<"other", string>;
export interface Draft { requestType: string; payloadJson: string; actor: Actor }
export interface CommandRequest { requestType: string; payloadJson: string; notAfterMs: number | null; reason: string }
export type Change = Case<"set", [pointer: string, json: string]> | Case<"remove", string>;

export type Effect =
  | Case<"enqueue", [Target, CommandRequest]>
  | Case<"emit", [device: string, topic: string, json: string]>
  | Case<"set-fact", [Target, name: string, json: string]>
  | Case<"kv-put", [key: string, value: Uint8Array]>
  | Case<"kv-delete", string>
  | Case<"notify", [severity: string, text: string]>
  | Case<"wake", Target>
  | Case<"schedule", [job: string, atMs: number]>;
export interface Keyed { key: string; item: Effect }

export type Stage = "enqueue" | "delivery";
export type Verdict = Case<"allow", number | null> | Case<"veto", string> | Case<"defer", [untilMs: number, reason: string]>;
export type Decision = Bare<"allow"> | Case<"hold", string> | Case<"deny", string>;
export interface EnrollmentRequest { device: Snapshot; quarantine: boolean }
export interface Event {
  id: string; device: string; user: string | null; seq: number; atMs: number; kind: string; bodyJson: string; depth: number;
}

export type Severity = "info" | "low" | "medium" | "high" | "critical";
export type RuleVerdict = "pass" | "fail" | "unknown" | "not-applicable";
export interface Remedy { label: string; command: CommandRequest; automatic: boolean }
export interface Finding {
  rule: string; verdict: RuleVerdict; message: string; evidence: Fact[]; remedies: Remedy[]; graceMs: number | null;
}
export interface RuleInfo { id: string; title: string; severity: Severity; description: string; reference: string | null }

// The hooks: a plugin exports `settings`, `enrollment`, `commandAmend`, … as constants of these types.

export interface Settings {
  validate(json: string): Diagnostic[];
  migrate?(fromVersion: string, json: string): string;
}
export interface Enrollment { decide(context: CallContext, request: EnrollmentRequest): Decision }
export interface CommandAmend { amend(context: CallContext, command: Draft): Change[] }
export interface CommandValidate {
  validate(context: CallContext, stage: Stage, device: Snapshot, command: Draft): Verdict;
}
export interface Events { onEvents(context: CallContext, batch: Event[]): Keyed[] }
export interface Compliance {
  rules(): RuleInfo[];
  evaluate(context: CallContext, device: Snapshot): Finding[];
}
export interface Declaration { identifier: string; kind: string; payloadJson: string }
export interface Declarations { contribute(context: CallContext, device: Snapshot): Declaration[] }
export interface Step { effects: Keyed[]; cursor: string | null; againInMs: number | null }
export interface Jobs { run(context: CallContext, job: string, cursor: string | null): Step }
export interface RouteRequest {
  method: string; path: string; query: string; headers: [name: string, value: string][]; body: Uint8Array;
  actor: string | null; roles: string[];
}
export interface RouteResponse {
  status: number; headers: [name: string, value: string][]; body: Uint8Array; effects: Keyed[];
}
export interface Routes { handle(context: CallContext, request: RouteRequest): RouteResponse }
export interface Panels { render(context: CallContext, panel: string, parametersJson: string): string }

/** Why a hook gives no answer; thrown. The host then applies the failure policy of the hook. */
export class HookError extends Error {
  constructor(tag: "retryable" | "permanent" | "misconfigured" | "other", message: string);
  readonly tag: "retryable" | "permanent" | "misconfigured" | "other";
}
export function retryable(message: string): HookError;
export function permanent(message: string): HookError;
export function misconfigured(message: string): HookError;

/** The tenant's settings; throws `misconfigured` when they are no JSON. */
export function settings<T = any>(): T;
/** As `settings`, from a text at hand. */
export function readSettings<T = any>(json: string): T;
/** Random bytes, at most 1,024 a call; the same for the same `seed` of the context. */
export function random(count: number): Uint8Array;
/** Milliseconds since the call began; 0 in deterministic hooks. */
export function elapsedMs(): number;
/** Lines for the operator's log: 64 of 2 KiB a call. */
export const log: Record<"debug" | "info" | "warn" | "error", (message: string, fields?: object) => void>;

/** The refusal of a host function, thrown. */
export class AccessError extends Error {
  constructor(tag: string, message?: string);
  tag: "denied" | "quota" | "not-found" | "unavailable" | "invalid" | "other";
}
/** What the catalogue judges for: what is null is not known. */
export interface Subject {
  platform: Platform; osVersion: string; userChannel: boolean; userEnrollment: boolean; supervised: boolean | null;
  automated: boolean | null; userApproved: boolean | null; sharedIpad: boolean | null; accessRights: number | null;
}
export interface Objection {
  cause: string; weight: "warns" | "open" | "refuses"; key: string; message: string; fix: string | null; ask: string | null;
  alternative: string | null;
}
export interface Judgement {
  verdict: "allowed" | "allowed-with-warning" | "unknown" | "refused"; objections: Objection[];
}
/** What of a device decides what it takes. */
export function subject(device: Snapshot): Subject;
/** What Apple's management protocols allow; always there, in every hook. `class` is `command`, `profile`, `declaration`, … */
export const catalogue: {
  preflight(subject: Subject, className: string, name: string, bodyJson: string): Judgement;
  lookup(className: string, name: string): string | null;
  names(className: string): string[];
};
/** In `commandAmend`: the kinds of devices that the command is for. */
export const recipients: { kinds(): Subject[] };
/** Devices of the tenant, as far as `capabilities.devices` reaches. */
export const devices: {
  get(id: string): Snapshot;
  getFact(id: string, key: string): Fact | null;
  search(group: string | null, after: string | null, limit: number): { items: Snapshot[]; next: string | null };
  history(id: string, topic: string, limit: number): string[];
};
/** What the plugin has kept for this tenant. */
export const kv: {
  get(key: string): Uint8Array | null;
  scan(prefix: string, after: string | null, limit: number): [key: string, value: Uint8Array][];
};
/** Calls to outside services that the grant names. */
export const httpOut: {
  send(message: {
    method: string; url: string; headers: [string, string][]; body: Uint8Array; timeoutMs: number;
  }): { status: number; headers: [string, string][]; body: Uint8Array };
};
/** Secrets of the tenant, used without being seen. */
export const secrets: { names(): string[]; hmacSha256(name: string, data: Uint8Array): Uint8Array };
/** Numbers for the operator's metrics. */
export const metrics: { add(name: string, delta: number): void };

/** What stands in for the host in a test. */
export interface FakeHost {
  catalogue?: Partial<typeof catalogue>;
  recipients?: Partial<typeof recipients>;
  devices?: Partial<typeof devices>;
  kv?: Partial<typeof kv>;
  httpOut?: Partial<typeof httpOut>;
  secrets?: Partial<typeof secrets>;
  metrics?: Partial<typeof metrics>;
  settings?: unknown;
  random?: (count: number) => Uint8Array;
  elapsedMs?: () => number;
  log?: (level: string, message: string, fieldsJson: string) => void;
}
/** Runs `work` with a host made of `given`, for tests. */
export function withHost<T>(given: FakeHost, work: () => T): T;

export function refuse(path: string, message: string): Diagnostic;
export function remark(path: string, message: string): Diagnostic;
export function allow(): Verdict;
export function allowUntil(untilMs: number): Verdict;
export function veto(reason: string): Verdict;
export function defer(untilMs: number, reason: string): Verdict;
export function admit(): Decision;
export function hold(reason: string): Decision;
export function deny(reason: string): Decision;
export function set(pointer: string, value: unknown): Change;
export function remove(pointer: string): Change;
export function target(device: string, user?: string | null): Target;
export function command(requestType: string, payload: object, reason: string, notAfterMs?: number | null): CommandRequest;
export function enqueue(key: string, to: Target, what: CommandRequest): Keyed;
export function setFact(key: string, of: Target, name: string, value: unknown): Keyed;
export function emit(key: string, device: string, topic: string, body: object): Keyed;
export function wake(key: string, to: Target): Keyed;
export function fact<T = any>(device: Snapshot, key: string): T | undefined;
export function known(device: Snapshot, key: string): Fact | undefined;
export function facts(device: Snapshot): Record<string, { value: unknown; source?: string; "observed-ms"?: number }>;
export function payload<T = any>(draft: Draft, key?: string): T | undefined;
export function body<T = any>(event: Event): T | undefined;
export function finding(
  rule: string, verdict: RuleVerdict, message: string,
  more?: { evidence?: Fact[]; remedies?: Remedy[]; graceMs?: number },
): Finding;
export function rule(id: string, title: string, severity: Severity, description: string, reference?: string | null): RuleInfo;
export function remedy(label: string, what: CommandRequest, automatic?: boolean): Remedy;
