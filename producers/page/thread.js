// One conversation as its reader sees it: pure. The rule of the log (contract, "The conversation log") once more, so that
// whatever a server sends, no piece is shown twice and a gap is noticed.

export const ENDED = { STOP: "stop", LENGTH: "length", CANCELLED: "cancelled", REFUSED: "refused", WITHHELD: "withheld", EXPIRED: "expired", FAILED: "failed" };

export function emptyThread() {
  return { turns: new Map(), resets: [], before: null };
}

/** The thread as the server's history has it. */
export function fromHistory(history, before) {
  const thread = emptyThread();
  thread.before = before;
  for (const message of history.messages) {
    const turn = turnOf(thread, message.turn, { n: message.n, parent: message.parent ?? null });
    if (message.role === "user") turn.text = message.text;
    else turn.answer = message.text;
    turn.reason = message.reason ?? turn.reason ?? ENDED.STOP;
    turn.refusal = message.refusal ?? turn.refusal ?? null;
    turn.state = "ended";
  }
  for (const open of history.open_turns) {
    const turn = turnOf(thread, open.turn, { n: open.n, parent: open.parent });
    const { text, answer, attempt, seq } = open;
    Object.assign(turn, { text, answer, attempt, seq, state: attempt > 0 ? "running" : "waiting" });
  }
  return thread;
}

function turnOf(thread, id, fields) {
  if (!thread.turns.has(id)) {
    const fresh = { id, text: "", answer: "", attempt: 0, seq: 0, state: "waiting", reason: null, refusal: null, error: null, ahead: null, degraded: false };
    thread.turns.set(id, { ...fresh, ...fields });
  }
  return thread.turns.get(id);
}

/** Folds one event in. Returns "taken", "dropped", or "gap": then the thread must begin anew from history. */
export function take(thread, event) {
  if (event.type === "conversation.reset") {
    thread.resets.push(highestN(thread));
    return "taken";
  }
  if (event.type === "turn.accepted") {
    if (thread.turns.has(event.turn)) return "dropped";
    turnOf(thread, event.turn, { n: event.n, parent: event.parent ?? null, text: event.text });
    return "taken";
  }
  const turn = thread.turns.get(event.turn);
  if (!turn || turn.state === "ended") return "dropped";
  return takeOfTurn(turn, event);
}

function takeOfTurn(turn, event) {
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
      return takeDelta(turn, event);
    case "turn.ended":
      if (event.attempt !== turn.attempt) return "dropped";
      if (event.seq !== turn.seq) return "gap";
      Object.assign(turn, { state: "ended", reason: event.reason, error: event.error, refusal: event.detail?.refusal ?? null });
      return "taken";
    default:
      return "dropped"; // a type of a later release
  }
}

function takeDelta(turn, event) {
  if (event.attempt !== turn.attempt || event.seq < turn.seq) return "dropped";
  if (event.seq > turn.seq) return "gap";
  turn.seq = (event.last_seq ?? event.seq) + 1;
  if (event.channel === undefined || event.channel === "text") turn.answer += event.text;
  return "taken";
}

/** The turns of the thread in their order. */
export function ordered(thread) {
  return [...thread.turns.values()].sort((a, b) => a.n - b.n);
}

/** The turn that is being answered or waits first; null when the thread is at rest. */
export function active(thread) {
  return ordered(thread).find((turn) => turn.state !== "ended") ?? null;
}

function highestN(thread) {
  return Math.max(0, ...[...thread.turns.values()].map((turn) => turn.n));
}

/** How an end is told to a person; empty for an ordinary one. */
export function endInWords(turn) {
  switch (turn.reason) {
    case ENDED.LENGTH: return "The answer reached its length limit.";
    case ENDED.CANCELLED: return "Stopped.";
    case ENDED.REFUSED:
    case ENDED.WITHHELD: return turn.refusal || "This could not be answered under the policy in force.";
    case ENDED.EXPIRED: return "No answer came before the deadline. Send it again.";
    case ENDED.FAILED: return turn.error?.message || "The answer failed. Send it again.";
    default: return "";
  }
}
