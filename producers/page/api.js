// The gateway's HTTP as the page uses it.

import { call } from "./client.js";

export class Api {
  constructor(key, user) {
    this.key = key;
    this.user = user;
  }

  call(method, path, body) {
    return call("", this.key, method, path, body);
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
