// The one script of the pages. The dashboard works without it; the rater's page needs it.
"use strict";

const find = (id) => document.getElementById(id);

function make(name, text, attributes = {}) {
  const made = document.createElement(name);
  // Text stays text: nothing here ever parses markup, and the page's policy would not let it.
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// The dashboard: questions before what cannot be undone, and a box that ticks all others.

document.addEventListener("click", (event) => {
  const question = event.target.closest?.("[data-confirm]")?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
document.addEventListener("change", (event) => {
  const name = event.target.dataset?.all;
  if (name) for (const box of document.getElementsByName(name)) box.checked = event.target.checked;
});

// The form: what its fields hold as a label, and back.

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// A field of JSON takes plain text too; what begins like JSON has to be JSON.
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (/^\s*[[{"]/.test(text)) throw new Error(`this is not JSON yet: ${error.message}`);
    return text.trim();
  }
}

function shownAsJson(value) {
  if (typeof value === "string") {
    try {
      if (parsed(value) === value) return value;
    } catch {
      return value; // a draft that was not JSON yet
    }
  }
  return JSON.stringify(value, null, 2);
}

class Field {
  constructor(element) {
    this.element = element;
    this.kind = element.dataset.kind;
    this.name = element.dataset.name; // none: the field is the whole label
    this.title = element.dataset.title;
    this.required = "required" in element.dataset;
    this.buttons = [...element.querySelectorAll(".choice")];
    this.input = element.querySelector("input, textarea");
  }

  get chosen() {
    return this.buttons.filter((button) => button.getAttribute("aria-pressed") === "true");
  }

  press(button) {
    const was = button.getAttribute("aria-pressed") === "true";
    if (this.kind === "choice") for (const each of this.chosen) each.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(!was));
  }

  // What it holds; undefined for nothing. A draft may hold what a label may not.
  read(isDraft) {
    if (this.kind === "choice") return this.chosen.map((button) => JSON.parse(button.dataset.value))[0];
    if (this.kind === "choices") {
      const values = this.chosen.map((button) => JSON.parse(button.dataset.value));
      return values.length || this.required ? values : undefined;
    }
    const text = this.input.value;
    if (this.kind === "number") {
      if (this.input.validity.badInput && !isDraft) throw new Error("expected a number");
      return text === "" ? undefined : Number(text);
    }
    if (text.trim() === "") return undefined;
    if (this.kind === "text") return text;
    return isDraft ? text : parsed(text);
  }

  fill(value) {
    for (const button of this.buttons) {
      const own = JSON.parse(button.dataset.value);
      const is = this.kind === "choices" ? Array.isArray(value) && value.some((each) => same(each, own)) : same(value, own);
      button.setAttribute("aria-pressed", String(is));
    }
    if (!this.input) return;
    const none = value === undefined || value === null;
    if (this.kind === "json") this.input.value = none ? "" : shownAsJson(value);
    else this.input.value = none ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  focus() {
    (this.input ?? this.buttons[0])?.focus();
  }
}

class LabelForm {
  constructor(element) {
    this.element = element;
    this.fields = [...element.querySelectorAll(".field")].map((each) => new Field(each));
    this.choices = this.fields.filter((field) => field.buttons.length);
    this.current = this.choices[0];
    this.base = undefined; // the label that it began with
  }

  fill(label) {
    this.base = label;
    this.current = this.choices[0];
    const isObject = label !== null && typeof label === "object" && !Array.isArray(label);
    for (const field of this.fields) field.fill(field.name === undefined ? label : isObject ? label[field.name] : undefined);
    this.mark();
  }

  // The label of the form. What else is in the label that it began with stays: the form does not show all that a label may hold.
  read(isDraft = false) {
    const whole = this.fields.find((field) => field.name === undefined);
    if (whole) return this.readField(whole, isDraft) ?? (isDraft ? "" : undefined);
    const isObject = this.base !== null && typeof this.base === "object" && !Array.isArray(this.base);
    const label = isObject ? { ...this.base } : {};
    for (const field of this.fields) {
      const value = this.readField(field, isDraft);
      if (value === undefined) delete label[field.name];
      else label[field.name] = value;
    }
    return label;
  }

  readField(field, isDraft) {
    let value;
    try {
      value = field.read(isDraft);
    } catch (error) {
      throw Object.assign(new Error(`${field.title}: ${error.message}`), { field });
    }
    if (value === undefined && field.required && !isDraft) {
      throw Object.assign(new Error(`${field.title}: ${field.buttons.length ? "choose one" : "fill it in"}, or skip`), { field });
    }
    return value;
  }

  // The field that the keys 1 to 9 go to: the one with the focus, else the first, and after an answer the next without one.
  get active() {
    return this.choices.find((field) => field.element.contains(document.activeElement)) ?? this.current;
  }

  choose(field, button) {
    field.press(button);
    const later = this.choices.slice(this.choices.indexOf(field) + 1);
    const isAnswered = field.kind === "choice" && field.chosen.length > 0;
    this.current = (isAnswered && later.find((each) => each.chosen.length === 0)) || field;
  }

  mark() {
    const active = this.active;
    for (const field of this.fields) field.element.classList.toggle("active", field === active);
    const isLines = document.activeElement?.matches("#form textarea");
    find("done").querySelector("kbd").textContent = isLines ? "Ctrl Enter" : "Enter";
  }
}

// The item: its parts, as the server took them apart.

function partsOf(parts) {
  const shown = document.createDocumentFragment();
  const facts = parts.filter((part) => part.kind === "fact");
  for (const part of parts) {
    if (part.kind === "fact") continue;
    const section = make("section", undefined, { class: `part ${part.kind}` });
    section.append(make("h3", part.name));
    if (part.kind === "text") section.append(make("p", part.text, { class: "prose", dir: "auto" }));
    else section.append(make("pre", part.text, { tabindex: "0", "aria-label": part.name }));
    shown.append(section);
  }
  const list = make("dl", undefined, { class: "facts" });
  for (const part of facts) {
    const pair = make("div");
    pair.append(make("dt", part.name), make("dd", part.text, { dir: "auto", ...(parts.length === 1 && { class: "lone" }) }));
    list.append(pair);
  }
  if (facts.length) shown.append(list);
  return shown;
}

const REASONS = {
  empty: "This queue is empty.",
  finished: "All done: nothing is left in this queue.",
  leased: "Others are at work on all that is left. This page looks again by itself.",
  seen: "You have been through all that is left; it waits for others.",
  paused: "This queue is paused. This page looks again by itself.",
  assigned: "All that is left is reserved for others. This page looks again by itself.",
};
const DRAFT_AFTER = 600; // milliseconds without a key
const LOOK_AGAIN = 5_000; // milliseconds, where there was nothing to claim
const IDLE_AFTER = 15 * 60_000; // a page that nobody touches for so long lets its claims run out

class Rater {
  constructor(element) {
    this.calls = element.dataset.calls;
    this.csrf = element.dataset.csrf;
    this.lease = Number(element.dataset.lease) * 1000;
    this.pace = Number(element.dataset.pace);
    this.keep = `annotation-queue ${element.dataset.user} `;
    this.form = new LabelForm(find("form"));
    this.claim = null; // the item at hand
    this.ahead = null; // the one after it, claimed already
    this.fetching = null; // the request for it
    this.past = []; // what was labelled before, the newest first, as far as it was looked at
    this.cursor = null;
    this.at = -1; // where in the past the page is; -1: at the item at hand
    this.busy = false;
    this.lost = false;
    this.away = false; // whether the server was out of reach when it was asked last
    this.drafts = Promise.resolve(); // drafts are stored one after the other, and before what finishes the item
    this.finished = []; // when the last items were done
    this.touched = Date.now();
  }

  async call(name, body, options = {}) {
    let answer;
    try {
      answer = await fetch(this.calls.replace("CALL", name), {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": this.csrf },
        body: JSON.stringify(body),
        ...options,
      });
    } catch {
      this.away = true;
      throw Object.assign(new Error("The server cannot be reached. What you wrote is kept here; try again."), { kind: "offline" });
    }
    if (this.away) this.alert("");
    this.away = false;
    const data = await answer.json().catch(() => ({ message: `the server answered ${answer.status}` }));
    if (answer.ok) return data;
    const isOld = answer.status === 401 || (answer.status === 403 && data.error === "denied");
    throw Object.assign(new Error(data.message), { kind: isOld ? "signed_out" : data.error, field: data.field });
  }

  // What is shown

  standing({ left, total, mine }) {
    if (left === undefined) return;
    for (const [id, value] of Object.entries({ left, total, mine })) find(id).textContent = value.toLocaleString("en");
    const times = this.finished.slice(-20);
    let rate = this.pace;
    if (times.length > 2) rate = Math.round(((times.length - 1) * 3_600_000) / Math.max(1, times.at(-1) - times[0]));
    find("rate").textContent = rate ? rate.toLocaleString("en") : "–";
  }

  show(item, label, heading) {
    const place = find("item");
    const title = make("h2", item.op_name ? `${item.call_id} · ${item.op_name}` : item.call_id);
    place.replaceChildren(...(heading ? [make("p", heading, { class: "notice" })] : []), title, partsOf(item.shown));
    if (!item.shown.length) place.append(make("p", "This item has no payload.", { class: "muted" }));
    if (item.more.length) {
      const more = make("details");
      more.append(make("summary", `Everything else (${item.more.length})`), partsOf(item.more));
      place.append(more);
    }
    find("form").hidden = false;
    find("form").classList.toggle("past", this.at >= 0);
    find("forward").hidden = this.at < 0;
    find("done").firstChild.textContent = this.at < 0 ? "Done " : "Correct ";
    this.problem("");
    this.form.fill(label);
    this.enable();
    // Whoever has to type, types at once; whoever chooses needs no focus for it, and a screen reader begins with the item.
    const first = this.form.fields[0];
    if (first && !first.buttons.length) first.focus();
    else place.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    this.form.mark();
  }

  nothing(reason, retryAt) {
    const at = retryAt ? ` The next one may be free at ${new Date(retryAt).toLocaleTimeString()}.` : "";
    const box = make("div", undefined, { class: "empty" });
    box.append(make("p", (REASONS[reason] ?? reason) + at), make("p"));
    find("item").replaceChildren(box);
    find("form").hidden = false;
    find("form").classList.remove("past");
    this.form.fill(undefined);
    this.enable();
    clearTimeout(this.looking);
    if (reason !== "finished" && reason !== "seen") {
      const wait = retryAt ? Math.min(LOOK_AGAIN, Math.max(1000, new Date(retryAt) - Date.now())) : LOOK_AGAIN;
      this.looking = setTimeout(() => this.at < 0 && !this.claim && this.go(), wait);
    }
  }

  enable() {
    const has = this.at >= 0 || (this.claim !== null && !this.lost);
    find("done").disabled = find("skip").disabled = !has;
    for (const field of this.form.element.querySelectorAll(".choice, .field input, .field textarea")) {
      field.disabled = !has && !this.lost;
    }
  }

  problem(text) {
    find("problem").textContent = text;
    find("problem").hidden = !text;
  }

  alert(text, ...buttons) {
    const box = make("div", undefined, { class: "alert" });
    const group = make("div", undefined, { class: "group" });
    for (const [name, act] of buttons) {
      const button = make("button", name, { type: "button" });
      button.addEventListener("click", act);
      group.append(button);
    }
    box.append(make("span", text), group);
    find("alert").replaceChildren(...(text ? [box] : []));
    if (text) window.scrollTo(0, 0);
  }

  failed(error) {
    if (error.kind === "claim_lost") this.lose();
    else if (error.kind === "signed_out") {
      // The text is in the tab's own storage: the page that comes back has it.
      this.alert(`${error.message}. What you wrote is kept.`, ["Load the page again", () => location.reload()]);
    } else if (error.kind === "offline") this.alert(error.message);
    else this.problem(error.message);
  }

  // A claim that is lost takes nothing away from the page: what was written stays until its writer goes on.
  lose() {
    if (this.lost || !this.claim) return;
    this.lost = true;
    clearTimeout(this.saving);
    if (this.at >= 0) this.return();
    this.enable();
    find("saved").textContent = "";
    this.alert(
      "This item is no longer yours: its time ran out and somebody else was handed it, or it was taken back. What you wrote is still here.",
      ["Take it again", () => this.takeAgain()],
      ["Copy what I wrote", () => navigator.clipboard?.writeText(JSON.stringify(this.form.read(true), null, 2))],
      ["Go on to the next item", () => this.dropAndGo()],
    );
  }

  async takeAgain() {
    try {
      const found = await this.call("again", { item_id: this.claim.item_id });
      if (!found.claim) return this.alertStill(found.reason);
      const draft = this.form.read(true);
      this.lost = false;
      this.claim = { ...found.claim, draft };
      this.alert("");
      this.enable();
      this.changed();
    } catch (error) {
      if (error.kind === "not_found") this.alertStill("removed");
      else this.failed(error);
    }
  }

  alertStill(reason) {
    const why = reason === "leased" ? "Somebody else is at work on it." : "It is finished, or reserved for others, or removed.";
    this.alert(`${why} What you wrote is still here.`, ["Go on to the next item", () => this.dropAndGo()]);
  }

  dropAndGo() {
    this.forget(this.claim);
    this.claim = null;
    this.lost = false;
    this.alert("");
    this.go();
  }

  // Drafts: in the tab's storage at each key, on the server after a pause

  remember(item, draft) {
    try {
      sessionStorage.setItem(this.keep + item.item_id, JSON.stringify(draft));
    } catch {
      // It is full or off; the server has the draft all the same.
    }
  }

  remembered(item) {
    const text = sessionStorage.getItem(this.keep + item.item_id);
    return text === null ? item.draft : JSON.parse(text);
  }

  forget(item) {
    if (item) sessionStorage.removeItem(this.keep + item.item_id);
  }

  changed() {
    this.problem("");
    this.form.mark();
    if (this.at >= 0 || !this.claim) return;
    this.claim.draft = this.form.read(true);
    this.remember(this.claim, this.claim.draft);
    if (this.lost) return;
    find("saved").textContent = "…";
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), DRAFT_AFTER);
  }

  save(options) {
    clearTimeout(this.saving);
    this.saving = null;
    const claim = this.claim;
    const draft = claim.draft;
    this.drafts = this.drafts.then(async () => {
      if (claim !== this.claim || this.lost) return;
      try {
        await this.call("draft", { ref: claim.ref, annotation: draft }, options);
        if (claim === this.claim && claim.draft === draft) find("saved").textContent = "Draft saved";
      } catch (error) {
        if (claim === this.claim) this.failed(error);
      }
    });
    return this.drafts;
  }

  // From item to item

  async go() {
    this.at = -1;
    find("saved").textContent = "";
    if (this.fetching) await this.fetching;
    try {
      const found = this.ahead ? { claim: this.ahead } : await this.call("next", { holding: [] });
      this.ahead = null;
      this.claim = found.claim;
      this.standing(found);
      if (!this.claim) return this.nothing(found.reason, found.retry_at);
      this.claim.draft = this.remembered(this.claim);
      this.show(this.claim, this.claim.draft);
      this.fetchAhead();
    } catch (error) {
      this.failed(error);
      if (error.kind === "offline") this.looking = setTimeout(() => !this.claim && this.go(), LOOK_AGAIN);
    }
  }

  // The next item is claimed while this one is looked at, so that it is there at once.
  fetchAhead() {
    if (this.fetching || this.ahead || !this.claim) return;
    this.fetching = this.call("next", { holding: [this.claim.ref] })
      .then((found) => {
        this.ahead = found.claim;
        this.standing(found);
      })
      .catch(() => {}) // it is asked for again when it is needed
      .finally(() => {
        this.fetching = null;
      });
  }

  async finish(name, body) {
    if (this.busy || !(this.at >= 0 || this.claim)) return;
    this.setBusy(true);
    try {
      if (this.at >= 0) {
        const { item_id } = this.past[this.at];
        this.standing(await this.call("correct", { item_id, state: name === "done" ? "completed" : "skipped", ...body }));
        this.past = []; // their order is another one now
        this.return();
        find("saved").textContent = "Corrected";
        return;
      }
      clearTimeout(this.saving);
      await this.drafts;
      if (this.lost) return;
      const answer = await this.call(name, { ref: this.claim.ref, ...body });
      this.alert("");
      this.forget(this.claim);
      this.finished.push(Date.now());
      this.past = [];
      this.claim = null;
      this.standing(answer);
      await this.go();
    } catch (error) {
      this.failed(error);
    } finally {
      this.setBusy(false);
    }
  }

  setBusy(busy) {
    this.busy = busy;
    find("form").setAttribute("aria-busy", String(busy));
  }

  done() {
    if (find("done").disabled) return;
    try {
      this.finish("done", { annotation: this.form.read() });
    } catch (error) {
      this.problem(error.message);
      error.field?.focus();
    }
  }

  skip() {
    if (!find("skip").disabled) this.finish("skip", {});
  }

  async back() {
    if (this.busy || this.lost) return;
    this.setBusy(true);
    try {
      const next = this.at + 1;
      if (next >= this.past.length) {
        if (next > 0 && !this.cursor) return this.problem("This is the first that you labelled here.");
        const page = await this.call("earlier", { cursor: next ? this.cursor : "" });
        if (!page.found.length) return this.problem("You have labelled nothing here yet.");
        this.past.push(page.found[0]);
        this.cursor = page.cursor;
      }
      if (this.saving) this.save();
      this.at = next;
      this.showPast();
    } catch (error) {
      this.failed(error);
    } finally {
      this.setBusy(false);
    }
  }

  forward() {
    if (this.at < 0) return;
    if (this.at === 0) return this.return();
    this.at -= 1;
    this.showPast();
  }

  return() {
    this.at = -1;
    if (this.claim) this.show(this.claim, this.claim.draft);
    else this.go();
  }

  showPast() {
    const item = this.past[this.at];
    this.show(item, item.draft, item.state === "skipped" ? "You skipped this one." : "You labelled this one before.");
  }

  // While the page is open its claims are kept; not if nobody is there.

  async beat() {
    const holding = [this.claim, this.ahead].filter((each) => each && !(each === this.claim && this.lost));
    if (!holding.length) return;
    if (Date.now() - this.touched > IDLE_AFTER) return this.releaseAhead();
    try {
      const { lost } = await this.call("beat", { holding: holding.map((each) => each.ref) });
      if (this.ahead && lost.includes(this.ahead.ref)) this.ahead = null;
      if (this.claim && lost.includes(this.claim.ref)) this.lose();
      else this.fetchAhead();
    } catch (error) {
      if (error.kind === "signed_out") this.failed(error);
    }
  }

  releaseAhead(options) {
    if (!this.ahead) return;
    this.call("release", { ref: this.ahead.ref }, options).catch(() => {}); // its lease ends it otherwise
    this.ahead = null;
  }

  leave() {
    // These requests outlive the page.
    if (this.saving && this.claim && !this.lost) this.save({ keepalive: true });
    this.releaseAhead({ keepalive: true });
  }

  key(event) {
    this.touched = Date.now();
    const inText = event.target.matches("input:not([type=checkbox]), textarea, select");
    if (event.isComposing || event.altKey) return;
    if (event.key === "Enter" && !event.shiftKey) {
      const isOwn = event.target.matches("summary, a, .buttons button, #alert button, header button, [type=checkbox]");
      const isLines = event.target.matches("textarea") && !event.ctrlKey && !event.metaKey;
      if (isOwn || isLines) return;
      event.preventDefault();
      if (!event.repeat) this.done(); // a key that is held down would label one item after the other
      return;
    }
    if (event.key === "Escape" && inText) return event.target.blur();
    if (inText || event.ctrlKey || event.metaKey || event.repeat || !find("keys-on").checked) return;
    if (this.busy) return; // what is meant for the next item shall not change the one that is being stored
    const key = event.key.toLowerCase();
    const acts = { s: () => this.skip(), arrowleft: () => this.back(), arrowright: () => this.forward() };
    if (acts[key]) {
      event.preventDefault();
      acts[key]();
    } else if (/^[1-9]$/.test(key)) {
      const field = this.form.active;
      const button = field?.buttons[Number(key) - 1];
      if (button && !button.disabled) {
        event.preventDefault();
        this.choose(field, button);
      }
    }
  }

  choose(field, button) {
    this.form.choose(field, button);
    this.changed();
    const isOnly = this.form.fields.length === 1 && field.kind === "choice" && field.chosen.length;
    if (isOnly && find("at-once").checked) this.done();
  }

  start() {
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("pointerdown", () => {
      this.touched = Date.now();
    });
    find("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.done();
    });
    find("form").addEventListener("input", (event) => {
      if (!event.target.matches("[type=checkbox]")) this.changed();
    });
    for (const name of ["focusin", "focusout"]) {
      find("form").addEventListener(name, () => setTimeout(() => this.form.mark()));
    }
    find("form").addEventListener("click", (event) => {
      const button = event.target.closest(".choice");
      if (button) this.choose(this.form.fields.find((field) => field.buttons.includes(button)), button);
    });
    find("back").addEventListener("click", () => this.back());
    find("forward").addEventListener("click", () => this.forward());
    find("skip").addEventListener("click", () => this.skip());
    for (const id of ["keys-on", "at-once"]) {
      const kept = localStorage.getItem(`annotation-queue ${id}`);
      if (kept !== null) find(id).checked = kept === "true";
      find(id).addEventListener("change", () => localStorage.setItem(`annotation-queue ${id}`, find(id).checked));
    }
    window.addEventListener("online", () => this.claim && !this.lost && this.save());
    window.addEventListener("pagehide", () => this.leave());
    // A page that comes back out of the browser's memory has claims that it gave back.
    window.addEventListener("pageshow", (event) => event.persisted && location.reload());
    setInterval(() => this.beat(), Math.min(this.lease / 3, 60_000));
    this.go();
  }
}

const rater = find("rater");
if (rater) new Rater(rater).start();
