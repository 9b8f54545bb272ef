/** Types of client.js; records and frames as docs/asyncapi.json has them. */

import type { Thread } from "./thread.js";

export interface Failure {
  code: string;
  message: string;
  /** The same may succeed later, unchanged. */
  retriable?: boolean;
}
export declare class ParleyError extends Error {
  constructor(failure: Failure);
  code: string;
  retriable: boolean;
}

export interface LogEvent {
  type: "turn.accepted" | "turn.queued" | "turn.started" | "turn.delta" | "turn.ended" | "conversation.reset" | "conversation.moved";
  id: string;
  at: string;
  turn: string | null;
  attempt: number | null;
  [field: string]: unknown;
}

export interface State {
  state: "connecting" | "open" | "waiting" | "refused";
  /** Of `waiting`: until the next connection. */
  delayMs?: number;
  /** Of `refused`: the close code. */
  code?: number;
  message?: string;
}

export interface Ticket { ticket: string; url: string }

export interface Reader {
  /** Where to go on; null or left out: the history comes first. */
  after?: string | null;
  onSnapshot?: (thread: Thread, position: string) => void;
  onEvent?: (event: LogEvent, thread: Thread, position: string) => void;
  /** The conversation is not read any more. */
  onError?: (error: ParleyError) => void;
}

export interface Message {
  text: string;
  conversation?: string;
  parent?: string | null;
  model?: string;
  options?: Record<string, unknown>;
  idempotency_key?: string;
}

export type Options = {
  onState?: (state: State) => void;
  silenceMs?: number;
  answerMs?: number;
} & ({ ticket: () => Promise<Ticket> } | { gateway?: string; key: string; user?: string });

export declare function afterClose(
  code: number, reason: string, attempt: number, random?: () => number,
): { reconnect: false } | { reconnect: true; delayMs: number };

export declare function call(gateway: string, key: string, method: string, path: string, body?: unknown): Promise<unknown>;

export declare class ParleyClient {
  constructor(options: Options);
  subscribe(conversation: string, reader?: Reader): void;
  unsubscribe(conversation: string): void;
  send(message: Message): Promise<{ conversation: string; turn: string }>;
  stop(target: { turn: string } | { conversation: string }): Promise<{ conversation: string; turn: string | null }>;
  ping(): Promise<{ at: string }>;
  close(): void;
}
