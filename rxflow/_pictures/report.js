// The filter of a report's log lines, by level, by task or run, and by text; the address has it,
// too, so that a link shows the same lines. It only hides and shows what the page has.
"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const [form, level, task, text] = ["filter", "level", "task", "text"].map(find);
  const [count, nothing] = ["count", "nothing"].map(find);
  const LINE_HEIGHT = 21;
  const MANY = 20; // lines to show in a chunk: more take a time that can be noticed

  const chunks = [...document.querySelectorAll(".chunk")].map((element) => {
    const lines = [...element.querySelectorAll(".line")].map((line) => ({
      line,
      level: Number(line.dataset.level),
      node: Number(line.dataset.node),
      message: line.lastElementChild,
      isShown: true,
    }));
    return { element, lines, shown: lines.length };
  });
  const total = chunks.reduce((sum, chunk) => sum + chunk.lines.length, 0);

  function apply() {
    const least = Number(level.value);
    const [first, last] = task.value ? task.value.split("-").map(Number) : [0, Infinity];
    const wanted = text.value.toLowerCase();
    let shown = 0;
    const revealed = [];
    for (const chunk of chunks) {
      let shownHere = 0;
      for (const each of chunk.lines) {
        let matches = each.level >= least && each.node >= first && each.node <= last;
        if (matches && wanted) {
          each.lowered ??= each.message.textContent.toLowerCase();
          matches = each.lowered.includes(wanted);
        }
        if (matches !== each.isShown) {
          each.line.hidden = !matches;
          each.isShown = matches;
        }
        shownHere += matches;
      }
      if (shownHere > chunk.shown + MANY) {
        // Not laid out at once, but when the browser finds that it is on the screen.
        chunk.element.style.contentVisibility = "hidden";
        revealed.push(chunk.element);
      }
      chunk.shown = shownHere;
      chunk.element.hidden = shownHere === 0;
      // How high the chunk is taken to be until it is scrolled to.
      chunk.element.style.containIntrinsicSize = `auto none ${shownHere * LINE_HEIGHT}px`;
      shown += shownHere;
    }
    requestAnimationFrame(() => {
      for (const element of revealed) element.style.removeProperty("content-visibility");
    });
    const number = (value) => value.toLocaleString("en");
    count.textContent = `${number(shown)} of ${number(total)} lines`;
    nothing.hidden = shown > 0;
    mark(wanted);
  }

  // Marks what was found in the lines on the screen, without a change of the document.
  function mark(wanted) {
    if (!globalThis.Highlight) return;
    const found = new Highlight();
    CSS.highlights.set("found", found);
    if (!wanted) return;
    for (const { element, lines } of chunks) {
      const box = element.getBoundingClientRect();
      if (element.hidden || box.bottom < -500 || box.top > innerHeight + 500) continue;
      for (const { message, lowered, isShown } of lines) {
        const node = message.firstChild;
        // Where lower case is longer than the text, places in it are not those in the text.
        if (!isShown || !node || lowered.length !== node.length) continue;
        let marks = 0;
        for (let at = lowered.indexOf(wanted); at >= 0 && marks < 100; marks += 1) {
          const range = new Range();
          range.setStart(node, at);
          range.setEnd(node, at + wanted.length);
          found.add(range);
          at = lowered.indexOf(wanted, at + wanted.length);
        }
      }
    }
  }

  function read() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (![...given.keys()].some((key) => ["level", "node", "text"].includes(key))) return;
    const option = [...task.options].find((each) => each.dataset.node === given.get("node"));
    level.value = given.get("level") ?? "-1";
    if (level.selectedIndex < 0) level.value = "-1";
    task.value = option ? option.value : "";
    text.value = given.get("text") ?? "";
  }

  function remember() {
    const kept = new URLSearchParams();
    if (level.value !== "-1") kept.set("level", level.value);
    if (task.value) kept.set("node", task.selectedOptions[0].dataset.node);
    if (text.value) kept.set("text", text.value);
    history.replaceState(null, "", `#${kept}`);
  }

  let isDue = false;
  function change() {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      apply();
      remember();
    });
  }

  function choose(row) {
    const option = [...task.options].find((each) => each.dataset.node === row.dataset.node);
    task.value = task.value === option.value ? "" : option.value;
    change();
    form.scrollIntoView({ block: "nearest" });
  }

  for (const row of document.querySelectorAll(".picture .row")) {
    row.setAttribute("tabindex", "0");
    row.addEventListener("click", () => choose(row));
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter") choose(row);
    });
  }
  form.addEventListener("input", change);
  form.addEventListener("reset", () => setTimeout(change));
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("scroll", () => requestAnimationFrame(() => mark(text.value.toLowerCase())), {
    passive: true,
  });
  addEventListener("hashchange", () => { read(); apply(); });
  form.hidden = false;
  read();
  apply();
})();
