// What is on the screen, from values; nothing here talks to a server.

const ENDED = { LENGTH: "length", CANCELLED: "cancelled", REFUSED: "refused", WITHHELD: "withheld", EXPIRED: "expired", FAILED: "failed" };

export const $ = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** The turns of the thread in their order. */
function ordered(thread) {
  return [...thread.turns.values()].sort((a, b) => a.n - b.n);
}

/** The turn that is being answered or waits first; null when the thread is at rest. */
export function active(thread) {
  return ordered(thread).find((turn) => turn.state !== "ended") ?? null;
}

/** How an end is told to a person; empty for an ordinary one. */
function endInWords(turn) {
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

/** Versions of one message: turns with the same parent and the same text, oldest first. */
export function groups(thread) {
  const found = new Map();
  for (const turn of ordered(thread)) {
    const key = `${turn.parent ?? ""}\n${turn.text}`;
    if (found.has(key)) found.get(key).push(turn);
    else found.set(key, [turn]);
  }
  return [...found.values()];
}

export function showConversations(list, current, actions) {
  const items = list.map((conversation) => {
    const title = conversation.metadata?.title || "New conversation";
    const open = element("button", { class: "open", "aria-current": conversation.id === current ? "true" : null, onclick: () => actions.open(conversation.id) }, title);
    const remove = element("button", { class: "remove", "aria-label": `Delete ${title}`, title: "Delete", onclick: () => actions.remove(conversation.id) }, "×");
    return element("li", {}, open, remove);
  });
  $("conversations").replaceChildren(...items);
}

/** Draws the thread; `chosen` says which version of a message is shown. */
export function showThread(thread, chosen, actions) {
  const box = $("thread");
  const atBottom = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  const all = groups(thread);
  const nodes = all.map((versions, place) => group(thread, versions, chosen, actions, place === all.length - 1));
  if (thread.before) nodes.unshift(element("button", { class: "older", onclick: actions.older }, "Show older messages"));
  box.replaceChildren(...nodes);
  box.classList.toggle("empty", nodes.length === 0);
  if (atBottom) box.scrollTop = box.scrollHeight;
}

function group(thread, versions, chosen, actions, isLast) {
  const shown = versions.find((turn) => turn.id === chosen.get(versions[0].id)) ?? versions.at(-1);
  const nodes = [element("div", { class: "message user", "data-turn": shown.id }, element("p", {}, shown.text)), answer(shown)];
  const foot = element("div", { class: "foot" });
  if (versions.length > 1) foot.append(...pager(versions, shown, actions));
  if (isLast && shown.state === "ended") foot.append(element("button", { class: "small", id: "regenerate", onclick: () => actions.regenerate(shown) }, "Regenerate"));
  if (foot.childNodes.length) nodes.push(foot);
  if (thread.resets.some((n) => versions.some((turn) => turn.n === n))) nodes.push(element("hr", { title: "The conversation was reset here" }));
  return element("section", {}, ...nodes);
}

function answer(turn) {
  const node = element("div", { class: `message assistant ${turn.state}`, "data-turn": turn.id, "data-state": turn.state, "data-reason": turn.reason ?? "" });
  if (turn.answer) node.append(element("p", {}, turn.answer));
  if (turn.state === "waiting") node.append(element("p", { class: "note" }, turn.ahead > 0 ? `Waiting: ${turn.ahead} before it.` : "Waiting…"));
  else if (turn.state === "running" && !turn.answer) node.append(element("p", { class: "note" }, "Thinking…"));
  const words = turn.state === "ended" ? endInWords(turn) : "";
  const isFault = turn.reason === ENDED.FAILED || turn.reason === ENDED.EXPIRED;
  if (words) node.append(element("p", { class: isFault ? "note fault" : "note" }, words));
  if (turn.degraded) node.append(element("p", { class: "note" }, "Answered by a smaller model."));
  return node;
}

function pager(versions, shown, actions) {
  const at = versions.indexOf(shown);
  const step = (to, label, sign) => element("button", { class: "small", "aria-label": label, disabled: !versions[to], onclick: () => actions.choose(versions[0].id, versions[to].id) }, sign);
  return [step(at - 1, "Earlier version", "‹"), element("span", {}, `${at + 1}/${versions.length}`), step(at + 1, "Later version", "›")];
}

export function showStatus(text, kind = "") {
  $("status").textContent = text;
  $("status").className = kind;
}

export function showBusy(isBusy) {
  $("stop").hidden = !isBusy;
  $("send").hidden = isBusy;
}
