// The gateway's HTTP as the page uses it. Errors come as ParleyError with the server's own words.

import { ParleyError } from "./client.js";

export class Api {
  constructor(key, user) {
    this.key = key;
    this.user = user;
  }

  async call(method, path, body) {
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: { authorization: `Bearer ${this.key}`, "content-type": "application/json" },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new ParleyError({ code: "unavailable", message: "The server can't be reached.", retriable: true });
    }
    const answer = await response.json().catch(() => null);
    if (response.ok) return answer;
    const error = answer?.error ?? { code: "unavailable", message: `The server answered ${response.status}.` };
    throw new ParleyError({ ...error, retriable: response.status === 429 || response.status >= 500 });
  }

  ticket() {
    return this.call("POST", "/v1/tickets", { user: this.user });
  }

  async conversations() {
    const { data } = await this.call("GET", `/v1/conversations?limit=100&user=${encodeURIComponent(this.user)}`);
    return data;
  }

  retitle(conversation, title) {
    return this.call("POST", `/v1/conversations/${conversation}`, { metadata: { title } });
  }

  remove(conversation) {
    return this.call("DELETE", `/v1/conversations/${conversation}`);
  }

  reset(conversation) {
    return this.call("POST", `/v1/conversations/${conversation}/reset`, {});
  }

  async models() {
    return (await this.call("GET", "/v1/models")).data;
  }

  /** Whole messages older than `before`, oldest first, as the history of a thread. */
  async older(conversation, before) {
    const path = `/v1/conversations/${conversation}/items?order=desc&limit=50&after=${before}`;
    return this.call("GET", path);
  }
}
