// A client of `parley.v1+json`: one WebSocket, any number of conversations, resumed after every cut. No dependencies.
// Types: client.d.ts. How to use it: docs/streaming.md. delivery/client is the same in Python.

import { emptyThread, fromHistory, take } from "./thread.js";

const SUBPROTOCOL = "parley.v1+json";
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
const SILENCE_MS = 40_000; // the server speaks at least every 20 s: after twice that the connection is dead
const ANSWER_MS = 30_000;
const LOST = 1006; // what a socket that was cut without a close frame is said to have
const UNAUTHENTICATED = 4501;
const REFUSALS = { 4500: "invalid_request", [UNAUTHENTICATED]: "unauthenticated", 4503: "forbidden" };

export class ParleyError extends Error {
  constructor({ code, message, retriable = false }) {
    super(message);
    this.code = code;
    this.retriable = retriable;
  }
}

/** What a close code asks of the client: come back after a while, of full jitter unless told, or stay away. */
export function afterClose(code, reason, attempt, random = Math.random) {
  if (code >= 4500 && code <= 4999) return { reconnect: false };
  const asked = /retry_ms=(\d+)/.exec(reason || "");
  if (asked) return { reconnect: true, delayMs: Number(asked[1]) };
  return { reconnect: true, delayMs: random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempt, 10)) };
}

/** One call of the gateway's HTTP; errors come as ParleyError with the server's own words. */
export async function call(gateway, key, method, path, body) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const asked = { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal: AbortSignal.timeout(ANSWER_MS) };
  let response;
  try {
    response = await fetch(gateway + path, asked);
  } catch {
    throw new ParleyError({ code: "unavailable", message: "The server can't be reached.", retriable: true });
  }
  const answer = await response.json().catch(() => null);
  if (response.ok) return answer;
  const error = answer?.error ?? { code: "unavailable", message: `The server answered ${response.status}.` };
  throw new ParleyError({ ...error, retriable: response.status === 429 || response.status >= 500 });
}

export class ParleyClient {
  /** `ticket` gives {ticket, url}, before each connection since a ticket is used once; else `key` asks `gateway` for it. */
  constructor({ ticket, gateway = "", key, user, onState = () => {}, silenceMs = SILENCE_MS, answerMs = ANSWER_MS }) {
    this.ticket = ticket ?? (() => call(gateway, key, "POST", "/v1/tickets", user === undefined ? {} : { user }));
    this.onState = onState;
    this.silenceMs = silenceMs;
    this.answerMs = answerMs;
    this.readers = new Map(); // conversation -> what subscribe() makes
    this.calls = new Map(); // ref -> {frame, isRepeatable, isSaid, resolve, reject, timer}, in the order they were made
    this.refs = 0;
    this.attempt = 0;
    this.failure = null;
    this.connect();
  }

  /**
   * Reads a conversation from behind the position `after`, else its history first. onSnapshot(thread) when it begins, or
   * begins anew: what was shown is replaced. onEvent(event, thread, position) for each event in order, once.
   */
  subscribe(conversation, { after = null, onSnapshot = () => {}, onEvent = () => {}, onError = () => {} } = {}) {
    if (this.failure) return onError(this.failure);
    this.unsubscribe(conversation);
    const thread = emptyThread({ isWhole: after === null });
    const reader = { conversation, position: after, thread, onSnapshot, onEvent, onError, ref: "", isJoined: false, refused: 0 };
    this.readers.set(conversation, reader);
    this.ask(reader);
  }

  unsubscribe(conversation) {
    if (this.readers.delete(conversation)) this.say({ type: "unsubscribe", conversation });
  }

  /** Resolves to {conversation, turn} once the message is durable. Said again after a cut it is the same turn, by its key. */
  send(message) {
    return this.request({ type: "send", idempotency_key: randomKey(), ...message }, true);
  }

  /** After a cut only the stop of a turn is said again: the conversation may be at its next turn by then. */
  stop(target) {
    return this.request({ type: "stop", ...target }, target.turn !== undefined);
  }

  /** Resolves to {at}, the server's clock. */
  ping() {
    return this.request({ type: "ping" }, false);
  }

  close() {
    this.fail(new ParleyError({ code: "unavailable", message: "The client was closed." }));
    this.leave()?.close(1000);
  }

  // --- inside ---------------------------------------------------------------------------------------------------------

  async connect() {
    this.onState({ state: "connecting" });
    try {
      const { ticket, url } = await this.ticket();
      if (this.failure) return;
      const address = new URL(url);
      address.searchParams.set("ticket", ticket);
      this.open(new WebSocket(address, SUBPROTOCOL));
    } catch (error) {
      const isFinal = error instanceof ParleyError && !error.retriable;
      this.lost(isFinal ? UNAUTHENTICATED : LOST, "", error.message);
    }
  }

  open(socket) {
    this.socket = socket;
    this.listen();
    // A socket that was given up may still speak: only the present one is heard.
    const ifPresent = (act) => (event) => socket === this.socket && act(event);
    socket.onopen = ifPresent(() => {
      this.listen();
      this.onState({ state: "open" });
      for (const reader of this.readers.values()) this.ask(reader);
      for (const each of this.calls.values()) each.isSaid = this.say(each.frame);
    });
    socket.onmessage = ifPresent(({ data }) => this.received(JSON.parse(data)));
    socket.onclose = ifPresent(({ code, reason }) => this.lost(code, reason, reason));
  }

  /** A connection that says nothing is gone: browsers see no protocol pings. */
  listen() {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => {
      const socket = this.socket;
      this.lost(LOST, "", "the connection fell silent");
      socket.close();
    }, this.silenceMs);
  }

  leave() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.silenceTimer);
    clearTimeout(this.retryTimer);
    for (const reader of this.readers.values()) reader.isJoined = false;
    return socket;
  }

  lost(code, reason, message) {
    this.leave();
    if (this.failure) return;
    const { reconnect, delayMs } = afterClose(code, reason, this.attempt);
    if (!reconnect) {
      this.fail(new ParleyError({ code: REFUSALS[code] ?? "forbidden", message: message || `The server closed with ${code}.` }));
      this.onState({ state: "refused", code, message });
      return;
    }
    const lost = { code: "unavailable", message: "The connection was lost before the answer.", retriable: true };
    for (const [ref, each] of this.calls) if (each.isSaid && !each.isRepeatable) this.settle(ref, new ParleyError(lost));
    this.attempt += 1;
    this.onState({ state: "waiting", delayMs, message });
    this.retryTimer = setTimeout(() => this.connect(), delayMs);
  }

  fail(error) {
    this.failure ??= error;
    for (const ref of [...this.calls.keys()]) this.settle(ref, error);
  }

  ask(reader) {
    if (this.readers.get(reader.conversation) !== reader) return;
    Object.assign(reader, { ref: `r${++this.refs}`, isJoined: false });
    this.say({ type: "subscribe", ref: reader.ref, conversation: reader.conversation, after: reader.position });
  }

  request(frame, isRepeatable) {
    if (this.failure) return Promise.reject(this.failure);
    const ref = `r${++this.refs}`;
    const whole = { ...frame, ref };
    return new Promise((resolve, reject) => {
      const late = { code: "unavailable", message: "No answer from the server. Try again.", retriable: true };
      const timer = setTimeout(() => this.settle(ref, new ParleyError(late)), this.answerMs);
      this.calls.set(ref, { frame: whole, isRepeatable, isSaid: this.say(whole), resolve, reject, timer });
    });
  }

  settle(ref, answer) {
    const waiting = this.calls.get(ref);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.calls.delete(ref);
    if (answer instanceof Error) waiting.reject(answer);
    else waiting.resolve(answer);
  }

  received(frame) {
    this.attempt = 0; // not at the opening: refusals come after it
    this.listen();
    const reader = this.readers.get(frame.conversation);
    switch (frame.type) {
      case "subscribed":
        if (reader?.ref === frame.ref) this.begun(reader, frame);
        return;
      case "event":
        // Until it is answered, what comes is still of the subscription before.
        if (reader?.isJoined) this.happened(reader, frame);
        return;
      case "accepted":
      case "stopping":
      case "pong":
        this.settle(frame.ref, frame);
        return;
      case "error":
        this.refused(frame);
    }
  }

  begun(reader, { position, recovered, history, before }) {
    Object.assign(reader, { isJoined: true, refused: 0, position });
    if (recovered) return;
    reader.thread = fromHistory(history, before ?? null);
    reader.onSnapshot(reader.thread, position);
  }

  happened(reader, { position, event }) {
    const fate = take(reader.thread, event);
    reader.position = fate === "gap" ? null : position;
    if (fate === "gap") this.ask(reader);
    else if (fate === "taken") reader.onEvent(event, reader.thread, position);
  }

  refused(frame) {
    const error = new ParleyError(frame);
    this.settle(frame.ref, error);
    const reader = [...this.readers.values()].find((each) => each.ref === frame.ref);
    if (!reader) return;
    reader.isJoined = false;
    if (error.retriable) {
      setTimeout(() => this.ask(reader), afterClose(LOST, "", ++reader.refused).delayMs);
    } else {
      this.readers.delete(reader.conversation);
      reader.onError(error);
    }
  }

  /** False: there is no connection now. A new one says by itself what is still to be said. */
  say(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }
}

/** Not crypto.randomUUID: pages on plain HTTP, other than this machine's own, don't have it. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
