// Who wrote a line: task runs and subflows, whose names may come after their first lines.

import { element, safe } from "./text.js";

export class Writers {
  /** @param select The element in which one of them is chosen. */
  constructor(select) {
    this.select = select;
    this.byId = new Map();
  }

  /** Set the name of a writer, also where it is shown already. */
  name(id, name) {
    const writer = this.writer(id);
    writer.name = safe(name);
    for (const shown of writer.elements) shown.textContent = writer.name;
    if (writer.option) writer.option.text = writer.name;
  }

  /** A new element with the name of a writer; the flow run itself, "", has none. */
  element(id) {
    const made = element("bdi", "writer");
    if (!id) return made;
    const writer = this.writer(id);
    made.textContent = writer.name;
    writer.elements.push(made);
    if (!writer.option) {
      writer.option = new Option(writer.name || id.slice(0, 8), id);
      this.select.append(writer.option);
    }
    return made;
  }

  writer(id) {
    if (!this.byId.has(id)) this.byId.set(id, { name: "", elements: [], option: null });
    return this.byId.get(id);
  }
}
