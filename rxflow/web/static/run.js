// The page of a run: reads the run's events, and shows them.
//
// Events are gathered and shown together, so that ten thousand lines cost a few layouts.

import { Lines } from "./lines.js";
import { Summary } from "./summary.js";
import { safe } from "./text.js";
import { Writers } from "./writers.js";

const GATHER = 30; // milliseconds in which events are gathered
const UPWARDS = ["ArrowUp", "PageUp", "Home"];
const EXPLAIN = 15000; // milliseconds to wait for the reason of a refusal

const byId = (id) => document.getElementById(id);
const runId = document.body.dataset.run;
const log = byId("log");
const filters = { level: 0, writer: "", text: "" };
const lines = new Lines(byId("lines"), filters);
const writers = new Writers(byId("writer"));
const summary = new Summary();

// -- events ---------------------------------------------------------------------------------------

const received = new Set();
let gathered = [];

/** Whether an event was received before, as after a restart of the service. */
function isRepeated(event) {
  const key = event.id ?? (event.kind === "notice" && `${event.code} ${event.timestamp}`);
  if (!key) return false;
  const isOld = received.has(key);
  received.add(key);
  return isOld;
}

function apply(event) {
  if (isRepeated(event)) return;
  const isOwn = event.flow_run_id === runId;
  const subflow = isOwn ? "" : event.flow_run_id;
  switch (event.kind) {
    case "run-seen":
    case "run-changed":
      if (isOwn) summary.row = event.run;
      else writers.name(event.flow_run_id, event.run.name);
      break;
    case "state":
      if (isOwn) summary.states.set(event.id, event.state);
      addLine(event, subflow, "state");
      break;
    case "task-state": {
      const { id, name } = event.task_run;
      writers.name(id, name);
      if (isOwn) summary.tasks.set(id, { name, state: event.state });
      addLine(event, id, "state");
      break;
    }
    case "log":
      addLine(event, event.task_run_id ?? subflow);
      break;
    case "notice":
      addLine(event, subflow, "notice");
      break;
    case "closed":
      if (isOwn) end(event);
      break;
  }
}

function addLine(event, writer, className = "") {
  lines.add(event, { writer, name: writers.element(writer), className });
}

function showGathered() {
  const events = gathered;
  gathered = [];
  events.forEach(apply);
  summary.show();
  showLines();
}

function showLines() {
  lines.show();
  const total = lines.rows.length;
  const isFiltered = lines.shown < total;
  byId("shown").textContent = isFiltered ? `${lines.shown} of ${total} lines` : `${total} lines`;
  byId("first-error").hidden = lines.errors === 0;
  followEnd();
}

/** Scroll to the last line, if the reader follows it. */
function followEnd() {
  if (byId("follow").checked) log.scrollTop = log.scrollHeight;
}

function end(event) {
  showConnection("ended", "Ended", event.message);
  clearInterval(ticking);
}

// -- the connection -------------------------------------------------------------------------------

let source;

function showConnection(state, text, reason = "") {
  document.body.dataset.connection = state;
  byId("connection").textContent = text;
  byId("reason").textContent = safe(reason);
  byId("again").hidden = state !== "failed";
}

function connect() {
  showConnection("connecting", "Connecting");
  source = new EventSource(`${runId}/events`);
  source.addEventListener("open", () => showConnection("live", "Live"));
  source.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    if (event.kind === "closed" && event.flow_run_id === runId) source.close();
    if (gathered.push(event) === 1) setTimeout(showGathered, GATHER);
  });
  source.addEventListener("failed", ({ data }) => fail(JSON.parse(data).message));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) explain();
    else showConnection("connecting", "Connection lost; reconnecting");
  });
}

/** Show why the service refused, since an EventSource does not hand out the response. */
async function explain() {
  try {
    const response = await fetch(`${runId}/events`, { signal: AbortSignal.timeout(EXPLAIN) });
    if (response.ok) await response.body.cancel();
    fail(response.ok ? "The connection was closed" : await response.text());
  } catch {
    fail("The service does not respond");
  }
}

function fail(reason) {
  source.close();
  showConnection("failed", "Not connected", reason);
}

// -- what the user does ---------------------------------------------------------------------------

function filter() {
  filters.level = Number(byId("level").value);
  filters.writer = byId("writer").value;
  filters.text = byId("text").value.toLowerCase();
  lines.filterAll();
  showLines();
}

/** Leave the reader where they are; at the end the log is followed again. */
function unfollow() {
  byId("follow").checked = false;
}

function followAtEnd() {
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 10) byId("follow").checked = true;
}

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("level").addEventListener("change", filter);
byId("writer").addEventListener("change", filter);
byId("text").addEventListener("input", filter);
byId("follow").addEventListener("change", followEnd);
byId("again").addEventListener("click", connect);
byId("first-error").addEventListener("click", () => {
  unfollow();
  lines.firstError()?.scrollIntoView({ block: "center" });
});
log.addEventListener("pointerdown", unfollow);
log.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && unfollow(), { passive: true });
log.addEventListener("keydown", ({ key }) => UPWARDS.includes(key) && unfollow());
for (const name of ["scrollend", "pointerup"]) log.addEventListener(name, followAtEnd);
// The height of lines is known when they come in sight.
new ResizeObserver(followEnd).observe(byId("lines"));

filter();
const ticking = setInterval(() => summary.showElapsed(), 1000);
connect();
