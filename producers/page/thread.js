// One conversation as its reader sees it: the reader's rule (contract, "The conversation log" and "WebSocket"), pure.
// Delivery has applied the rule of the log. A reader applies it once more, so that what a cut or another node brings again
// is shown once, and what is missing is noticed. delivery/client/thread.py is the same rule in Python.

const ORDERED = new Set(["turn.accepted", "conversation.reset", "conversation.moved"]);

/** `isWhole` false: reading began at a position without what lies before it, so turns may be met in their middle. */
export function emptyThread({ isWhole = true } = {}) {
  return { isWhole, turns: new Map(), order: -1, resets: [], before: null };
}

/** The thread as the server's history has it. */
export function fromHistory(history, before) {
  const thread = emptyThread();
  thread.before = before;
  for (const message of history.messages) {
    if (!thread.turns.has(message.turn)) add(thread, message.turn, { n: message.n, parent: message.parent ?? null });
    const turn = thread.turns.get(message.turn);
    if (message.role === "user") turn.text = message.text;
    else turn.answer = message.text;
    turn.reason = message.reason ?? turn.reason ?? "stop";
    turn.refusal = message.refusal ?? turn.refusal;
    turn.state = "ended";
  }
  for (const { turn, n, parent, text, answer, attempt, seq } of history.open_turns) {
    add(thread, turn, { n, parent, text, answer, attempt, seq, state: attempt > 0 ? "running" : "waiting" });
  }
  return thread;
}

/** `seq`: of the next delta; null: the first one to come tells it. */
function add(thread, id, fields) {
  const fresh = { id, n: null, parent: null, text: "", answer: "", attempt: 0, seq: 0, state: "waiting" };
  const turn = { ...fresh, reason: null, refusal: null, error: null, ahead: null, degraded: false, ...fields };
  thread.turns.set(id, turn);
  return turn;
}

/** Folds one event in. Returns "taken", "dropped", or "gap": then the thread must begin anew from history. */
export function take(thread, event) {
  if (ORDERED.has(event.type)) return takeOrdered(thread, event);
  let turn = thread.turns.get(event.turn);
  if (!turn && !thread.isWhole) {
    const attempt = event.attempt ?? 0;
    turn = add(thread, event.turn, { attempt: event.type === "turn.started" ? attempt - 1 : attempt, seq: null });
  }
  return !turn || turn.state === "ended" ? "dropped" : takeOfTurn(turn, event);
}

function takeOrdered(thread, event) {
  if (event.order <= thread.order) return "dropped";
  thread.order = event.order;
  if (event.type === "turn.accepted") {
    if (thread.turns.has(event.turn)) return "dropped"; // history knew it
    add(thread, event.turn, { n: event.n, parent: event.parent ?? null, text: event.text });
  } else if (event.type === "conversation.reset") {
    thread.resets.push(Math.max(0, ...[...thread.turns.values()].map((turn) => turn.n ?? 0)));
  }
  return "taken";
}

function takeOfTurn(turn, event) {
  const isOfAttempt = (event.attempt ?? 0) === turn.attempt;
  switch (event.type) {
    case "turn.queued":
      if (turn.attempt > 0) return "dropped";
      turn.ahead = event.ahead;
      return "taken";
    case "turn.started":
      if (event.attempt <= turn.attempt) return "dropped";
      Object.assign(turn, { attempt: event.attempt, state: "running", degraded: event.degraded === true });
      return "taken";
    case "turn.delta":
      return isOfAttempt ? takeDelta(turn, event) : "dropped";
    case "turn.ended":
      if (!isOfAttempt) return "dropped";
      if (turn.seq !== null && event.seq !== turn.seq) return "gap";
      Object.assign(turn, { state: "ended", reason: event.reason, error: event.error, refusal: event.detail?.refusal ?? null });
      return "taken";
    default:
      return "dropped"; // a type of a later release
  }
}

function takeDelta(turn, event) {
  const last = event.last_seq ?? event.seq;
  if (turn.seq !== null && last < turn.seq) return "dropped";
  // A merged delta that begins in what is known can't be cut: texts don't say where a piece ends.
  if (turn.seq !== null && event.seq !== turn.seq) return "gap";
  turn.seq = last + 1;
  turn.state = "running";
  if ((event.channel ?? "text") === "text") turn.answer += event.text;
  return "taken";
}
