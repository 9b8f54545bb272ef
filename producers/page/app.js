// The chat page: wires the client, the thread and the screen together.

import { Api } from "./api.js";
import { ParleyClient } from "./client.js";
import { emptyThread, fromHistory } from "./thread.js";
import { $, active, groups, showBusy, showConversations, showStatus, showThread } from "./view.js";

const KEY = "parley.key";
const USER = "parley.user";

const page = { api: null, client: null, current: null, thread: emptyThread(), list: [], chosen: new Map(), isSending: false, drawing: false };

function draw() {
  if (page.drawing) return; // one drawing a frame however many pieces came
  page.drawing = true;
  requestAnimationFrame(() => {
    page.drawing = false;
    showThread(page.thread, page.chosen, { older, regenerate, choose });
    showBusy(active(page.thread) !== null || page.isSending);
    $("reset").disabled = page.current === null;
  });
}

function fail(error) {
  showStatus(error.message || "Something went wrong. Try again.", "fault");
}

async function refreshList() {
  page.list = await page.api.conversations();
  showConversations(page.list, page.current, { open, remove });
}

function open(conversation) {
  if (page.current) page.client.unsubscribe(page.current);
  page.current = conversation;
  page.thread = emptyThread();
  page.chosen.clear();
  history.replaceState(null, "", conversation ? `#c=${conversation}` : "#");
  document.body.classList.remove("listing");
  if (conversation) subscribe(conversation);
  showConversations(page.list, page.current, { open, remove });
  showStatus("");
  draw();
  $("text").focus();
}

function subscribe(conversation) {
  const isShown = () => page.current === conversation;
  page.client.subscribe(conversation, {
    onSnapshot: (thread) => {
      if (!isShown()) return;
      page.thread = thread;
      draw();
    },
    onEvent: (event) => {
      if (!isShown()) return;
      if (event.type === "turn.ended") refreshList().catch(() => {});
      draw();
    },
    onError: (error) => {
      fail(error);
      if (error.code === "not_found" && isShown()) open(null);
    },
  });
}

async function say(text, parent) {
  page.isSending = true;
  showStatus("");
  draw();
  try {
    const model = $("model").value || undefined;
    const message = { text, model, conversation: page.current ?? undefined };
    if (parent !== undefined) message.parent = parent;
    const { conversation } = await page.client.send(message);
    if (page.current === null) {
      open(conversation);
      await page.api.retitle(conversation, text.slice(0, 60)).catch(() => {});
      await refreshList();
    }
  } finally {
    page.isSending = false;
    draw();
  }
}

/** The turn that the next message follows, when the shown version isn't simply the newest; undefined otherwise. */
function parentOfNext() {
  const last = groups(page.thread).at(-1);
  const chosen = last && page.chosen.get(last[0].id);
  return chosen && chosen !== last.at(-1).id ? chosen : undefined;
}

async function submit(event) {
  event.preventDefault();
  const field = $("text");
  const text = field.value.trim();
  if (!text || page.isSending) return;
  field.value = "";
  grow();
  try {
    await say(text, parentOfNext());
  } catch (error) {
    field.value = field.value || text; // what was not accepted is not lost
    grow();
    fail(error);
  }
}

function regenerate(turn) {
  page.chosen.clear();
  say(turn.text, turn.parent).catch(fail);
}

function choose(group, turn) {
  page.chosen.set(group, turn);
  draw();
}

function stop() {
  const turn = active(page.thread);
  if (turn) page.client.stop({ turn: turn.id }).catch(fail);
}

async function older() {
  const { data, last_id: last, has_more: hasMore } = await page.api.older(page.current, page.thread.before);
  const messages = data.reverse().map((item, place) => ({
    item: item.id, turn: `resp_${item.id.slice(4, 68)}`, n: place - 1e6, role: item.role, parent: null, reason: "stop", refusal: null,
    text: item.content.map((part) => part.text ?? part.refusal ?? "").join(""), at: "",
  }));
  const past = fromHistory({ messages, open_turns: [] }, hasMore ? last : null);
  for (const turn of past.turns.values()) if (!page.thread.turns.has(turn.id)) page.thread.turns.set(turn.id, turn);
  page.thread.before = past.before;
  draw();
}

async function reset() {
  if (!page.current) return;
  await page.api.reset(page.current);
  showStatus("The model no longer remembers what was said above.");
}

async function remove(conversation) {
  await page.api.remove(conversation);
  if (page.current === conversation) open(null);
  await refreshList();
}

function grow() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight, 240)}px`;
}

const CONNECTION = {
  connecting: () => showStatus("Connecting…", "quiet"),
  open: () => showStatus(""),
  waiting: ({ delayMs }) => showStatus(`Connection lost. Coming back in ${Math.ceil(delayMs / 1000)} s…`, "fault"),
  refused: ({ message }) => askForKey(message || "This key was not accepted."),
};

function askForKey(message = "") {
  $("sign-in-fault").textContent = message;
  $("key").value = localStorage.getItem(KEY) ?? "";
  $("user").value = localStorage.getItem(USER) ?? "me";
  if (!$("sign-in").open) $("sign-in").showModal();
}

async function begin() {
  const key = localStorage.getItem(KEY);
  if (!key) return askForKey();
  page.client?.close();
  page.api = new Api(key, localStorage.getItem(USER) ?? "me");
  page.client = new ParleyClient({ ticket: () => page.api.ticket(), onState: (state) => CONNECTION[state.state](state) });
  const wanted = new URLSearchParams(location.hash.slice(1)).get("c");
  open(wanted);
  const [, models] = await Promise.all([refreshList(), page.api.models()]);
  $("model").replaceChildren(...models.map(({ id }) => new Option(id, id)));
}

function keyFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.get("key")) return;
  localStorage.setItem(KEY, given.get("key"));
  localStorage.setItem(USER, given.get("user") ?? localStorage.getItem(USER) ?? "me");
  history.replaceState(null, "", "#"); // a key doesn't stay in the address bar
}

$("composer").addEventListener("submit", submit);
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
});
$("stop").addEventListener("click", stop);
$("reset").addEventListener("click", () => reset().catch(fail));
$("new").addEventListener("click", () => open(null));
$("menu").addEventListener("click", () => document.body.classList.toggle("listing"));
$("account").addEventListener("click", () => askForKey());
$("sign-in-form").addEventListener("submit", () => {
  localStorage.setItem(KEY, $("key").value.trim());
  localStorage.setItem(USER, $("user").value.trim() || "me");
  begin().catch(fail);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("stop").hidden) stop();
  if (event.altKey && event.key === "n") open(null);
});

keyFromAddress();
begin().catch(fail);
