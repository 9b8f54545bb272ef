// A client of `parley.v1+json`: one WebSocket, any number of conversations, resumed after every cut.
// No dependencies. Types: client.d.ts. The protocol: contract, "WebSocket".

const SUBPROTOCOL = "parley.v1+json";
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 10_000;
const SILENCE_MS = 45_000; // the server speaks at least every 20 s: twice that and a little is a dead connection
const ANSWER_MS = 20_000;

export class ParleyError extends Error {
  constructor({ code, message, retriable }) {
    super(message);
    this.code = code;
    this.retriable = Boolean(retriable);
  }
}

/** What a close code asks of the client: come back, or stay away and say why. */
export function afterClose(code, reason, attempt, random = Math.random) {
  if (code >= 4500 && code <= 4999) return { reconnect: false };
  const asked = /retry_ms=(\d+)/.exec(reason || "");
  if (asked) return { reconnect: true, delayMs: Number(asked[1]) };
  const ceiling = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt, 10));
  return { reconnect: true, delayMs: ceiling / 2 + (random() * ceiling) / 2 };
}

export class ParleyClient {
  /** `ticket`: asks the gateway for {ticket, url}; called before each connection, since a ticket is used once. */
  constructor({ ticket, onState = () => {} }) {
    this.ticket = ticket;
    this.onState = onState;
    this.readers = new Map(); // conversation -> {position, onSnapshot, onEvent, onError}
    this.waiting = new Map(); // ref -> {resolve, reject, timer}
    this.outbox = [];
    this.refs = 0;
    this.attempt = 0;
    this.closed = false;
    this.connect();
  }

  /** Reads a conversation: onSnapshot(history, before) when it begins anew, then onEvent(event) in order, once each. */
  subscribe(conversation, { onSnapshot, onEvent, onError = () => {} }) {
    const reader = { position: null, onSnapshot, onEvent, onError };
    this.readers.set(conversation, reader);
    this.ask(conversation, reader);
  }

  unsubscribe(conversation) {
    if (!this.readers.delete(conversation)) return;
    if (this.isOpen) this.write({ type: "unsubscribe", conversation });
  }

  /** Begins the conversation anew from its history, as after a gap. */
  restart(conversation) {
    const reader = this.readers.get(conversation);
    if (!reader) return;
    reader.position = null;
    this.ask(conversation, reader);
  }

  /** Resolves to {conversation, turn} once the message is durable. A repeat after a cut bears the same key. */
  send(message) {
    return this.request({ type: "send", idempotency_key: crypto.randomUUID(), ...message });
  }

  stop(target) {
    return this.request({ type: "stop", ...target });
  }

  close() {
    this.closed = true;
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    this.socket?.close(1000);
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  async connect() {
    this.onState({ state: "connecting" });
    let socket;
    try {
      const { ticket, url } = await this.ticket();
      if (this.closed) return;
      const address = new URL(url);
      address.searchParams.set("ticket", ticket);
      socket = new WebSocket(address, SUBPROTOCOL);
    } catch (error) {
      const final = error instanceof ParleyError && !error.retriable;
      this.retry(final ? 4501 : 1006, "", error.message);
      return;
    }
    this.socket = socket;
    socket.onopen = () => this.opened();
    socket.onmessage = ({ data }) => this.received(JSON.parse(data));
    socket.onclose = ({ code, reason }) => {
      if (socket === this.socket) this.retry(code, reason, reason);
    };
  }

  opened() {
    this.attempt = 0;
    this.onState({ state: "open" });
    this.listen();
    for (const [conversation, reader] of this.readers) this.ask(conversation, reader);
    for (const frame of this.outbox) this.write(frame);
  }

  retry(code, reason, message) {
    clearTimeout(this.silenceTimer);
    this.socket = null;
    if (this.closed) return;
    const { reconnect, delayMs } = afterClose(code, reason, this.attempt);
    if (!reconnect) {
      this.onState({ state: "refused", code, message });
      for (const ref of [...this.waiting.keys()]) this.settle(ref, { code: "unauthenticated", message, retriable: false });
      return;
    }
    this.attempt += 1;
    this.onState({ state: "waiting", delayMs, message });
    this.retryTimer = setTimeout(() => this.connect(), delayMs);
  }

  /** A connection that says nothing is gone: browsers see no protocol pings. */
  listen() {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => {
      const socket = this.socket;
      this.retry(1006, "", "the connection fell silent");
      socket?.close();
    }, SILENCE_MS);
  }

  ask(conversation, reader) {
    reader.ref = `s${++this.refs}`;
    if (this.isOpen) this.write({ type: "subscribe", ref: reader.ref, conversation, after: reader.position });
  }

  request(frame) {
    const ref = `r${++this.refs}`;
    const whole = { ...frame, ref };
    return new Promise((resolve, reject) => {
      const late = { code: "unavailable", message: "No answer from the server. Try again.", retriable: true };
      this.waiting.set(ref, { resolve, reject, timer: setTimeout(() => this.settle(ref, late), ANSWER_MS) });
      this.outbox.push(whole); // kept until answered: after a cut it is sent again, and is the same turn by its key
      if (this.isOpen) this.write(whole);
    });
  }

  settle(ref, error, value) {
    const call = this.waiting.get(ref);
    if (!call) return;
    clearTimeout(call.timer);
    this.waiting.delete(ref);
    this.outbox = this.outbox.filter((frame) => frame.ref !== ref);
    if (error) call.reject(new ParleyError(error));
    else call.resolve(value);
  }

  received(frame) {
    this.listen();
    const reader = frame.conversation && this.readers.get(frame.conversation);
    switch (frame.type) {
      case "subscribed":
        if (!reader || frame.ref !== reader.ref) return;
        reader.position = frame.position;
        if (!frame.recovered) reader.onSnapshot(frame.history, frame.before ?? null);
        return;
      case "event":
        if (!reader) return;
        reader.position = frame.position;
        reader.onEvent(frame.event);
        return;
      case "accepted":
      case "stopping":
        this.settle(frame.ref, null, frame);
        return;
      case "error":
        this.failed(frame);
    }
  }

  failed(frame) {
    if (this.waiting.has(frame.ref)) return this.settle(frame.ref, frame);
    for (const reader of this.readers.values()) {
      if (reader.ref === frame.ref) reader.onError(new ParleyError(frame));
    }
  }

  write(frame) {
    this.socket.send(JSON.stringify(frame));
  }
}
