/** Types of client.js; records and frames as the contract has them. */

export interface Failure { code: string; message: string; retriable: boolean }
export declare class ParleyError extends Error {
  code: string;
  retriable: boolean;
  constructor(failure: Failure);
}

export interface HistoryMessage {
  item: string; turn: string; n: number; role: "user" | "assistant"; text: string; at: string;
  reason: string | null; parent: string | null; refusal: string | null;
}
export interface OpenTurn {
  turn: string; n: number; parent: string | null; text: string; user: string; at: string;
  attempt: number; seq: number; answer: string;
}
export interface History { messages: HistoryMessage[]; open_turns: OpenTurn[] }

export interface LogEvent {
  type: "turn.accepted" | "turn.queued" | "turn.started" | "turn.delta" | "turn.ended" | "conversation.reset" | "conversation.moved";
  at: string; turn: string | null; attempt: number | null;
  [field: string]: unknown;
}

export interface State { state: "connecting" | "open" | "waiting" | "refused"; delayMs?: number; code?: number; message?: string }

export declare function afterClose(
  code: number, reason: string, attempt: number, random?: () => number,
): { reconnect: boolean; delayMs?: number };

export declare class ParleyClient {
  constructor(options: { ticket: () => Promise<{ ticket: string; url: string }>; onState?: (state: State) => void });
  subscribe(conversation: string, reader: {
    onSnapshot: (history: History, before: string | null) => void;
    onEvent: (event: LogEvent) => void;
    onError?: (error: ParleyError) => void;
  }): void;
  unsubscribe(conversation: string): void;
  restart(conversation: string): void;
  send(message: {
    text: string; conversation?: string; parent?: string | null; model?: string; options?: object; idempotency_key?: string;
  }): Promise<{ conversation: string; turn: string }>;
  stop(target: { turn: string } | { conversation: string }): Promise<{ turn: string | null; conversation: string }>;
  close(): void;
}
