/** Types of thread.js; `history` as docs/asyncapi.json has it. */

import type { LogEvent } from "./client.js";

export interface HistoryMessage {
  item: string; turn: string; n: number; role: "user" | "assistant"; text: string; at: string;
  reason: string | null; parent: string | null; refusal: string | null;
}
export interface OpenTurn {
  turn: string; n: number; parent: string | null; text: string; user: string; at: string;
  attempt: number; seq: number; answer: string;
}
export interface History { messages: HistoryMessage[]; open_turns: OpenTurn[] }

export interface Turn {
  id: string;
  /** Place in the conversation; null where reading began behind it. */
  n: number | null;
  parent: string | null;
  text: string;
  answer: string;
  attempt: number;
  seq: number | null;
  state: "waiting" | "running" | "ended";
  reason: "stop" | "length" | "cancelled" | "refused" | "withheld" | "expired" | "failed" | null;
  refusal: string | null;
  error: { code: string; message: string; retriable: boolean } | null;
  ahead: number | null;
  degraded: boolean;
}

export interface Thread {
  isWhole: boolean;
  turns: Map<string, Turn>;
  order: number;
  /** The places `n` behind which the conversation was reset. */
  resets: number[];
  /** The item from which `GET .../items?after=` goes on to older ones. */
  before: string | null;
}

export declare function emptyThread(options?: { isWhole?: boolean }): Thread;
export declare function fromHistory(history: History, before: string | null): Thread;
export declare function take(thread: Thread, event: LogEvent): "taken" | "dropped" | "gap";
