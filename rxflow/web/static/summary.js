// The head of a run's page: its name, states, times and task runs.

import { isBefore, positionOf } from "./lines.js";
import { element, safe } from "./text.js";
import { clock, day, duration, preciseClock } from "./times.js";

const OVER = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"];
const MOST_NAMED = 10;

const byId = (id) => document.getElementById(id);

export class Summary {
  constructor() {
    this.row = null; // the run's, as it was last read
    this.states = new Map();
    this.tasks = new Map(); // name and state of each task run
  }

  /** Show all that is known. */
  show() {
    this.showRun();
    this.showStates();
    this.showElapsed();
    this.showTasks();
  }

  /** Show for how long the run has been running, or ran. */
  showElapsed() {
    const { start_time: start, end_time: end } = this.row ?? {};
    if (!start) return;
    const last = [...this.states.values()].find((state) => OVER.includes(state.type));
    const until = end ?? last?.timestamp;
    const elapsed = (until ? Date.parse(until) : Date.now()) - Date.parse(start);
    byId("elapsed").textContent = `started ${clock(new Date(start))}, ${duration(elapsed)}`;
  }

  showRun() {
    if (!this.row) return;
    byId("name").textContent = safe(this.row.name);
    byId("tags").replaceChildren(
      ...this.row.tags.flatMap((tag) => {
        const made = element("span", "tag");
        made.append(element("bdi", "", safe(tag)));
        return [made, " "];
      }),
    );
  }

  showStates() {
    const states = [...this.states.values()].sort((a, b) =>
      isBefore(positionOf(a.timestamp), positionOf(b.timestamp)) ? -1 : 1,
    );
    const last = states.at(-1);
    if (!last) return;
    const badge = byId("state");
    badge.textContent = safe(last.name);
    badge.dataset.state = last.type;
    document.title = `${safe(last.name)} \u00b7 ${safe(this.row?.name ?? "")}`;
    byId("states").replaceChildren(...states.map(stateItem));
  }

  showTasks() {
    const tasks = [...this.tasks.values()];
    const counts = new Map();
    for (const { state } of tasks) counts.set(state.type, (counts.get(state.type) ?? 0) + 1);
    const over = OVER.reduce((sum, type) => sum + (counts.get(type) ?? 0), 0);
    const parts = [...counts].map(([type, count]) => `${count} ${safe(type).toLowerCase()}`);
    byId("tasks").hidden = tasks.length === 0;
    byId("progress").value = tasks.length ? over / tasks.length : 0;
    byId("counts").textContent = `${over} of ${tasks.length} task runs over: ${parts.join(", ")}`;
    const failed = tasks.filter(({ state }) => ["FAILED", "CRASHED"].includes(state.type));
    const more = failed.length - MOST_NAMED;
    byId("failed").replaceChildren(
      ...failed.slice(0, MOST_NAMED).map(({ name }) => element("bdi", "failure", safe(name))),
      more > 0 ? ` and ${more} more` : "",
    );
  }
}

function stateItem(state) {
  const date = new Date(state.timestamp);
  const item = element("li", "", `${safe(state.name)} `);
  item.dataset.state = state.type;
  item.title = safe(`${day(date)} ${preciseClock(date)} ${state.message ?? ""}`);
  item.append(element("time", "", clock(date)));
  return item;
}
