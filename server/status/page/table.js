// Tables that are updated in place, so that focus, selection and scroll position stay, and that sort by their columns.

/**
 * A column has `id`, `label`, `text(row)`, and maybe `sort(row)` (a number, text or null), `isNumeric`, `isHeader`
 * (its cells name their rows), `title(row)` and `fill(cell, row)`, which fills a cell with more than text.
 */
class Table {
  constructor(caption, { isSortable = true, note = "" } = {}) {
    this.isSortable = isSortable;
    this.sorting = null;
    this.rows = new Map();
    this.signature = null;
    this.caption = make("caption", {}, caption);
    this.head = make("tr");
    this.body = make("tbody");
    const table = make("table", {}, this.caption, make("thead", {}, this.head), this.body);
    // A region that scrolls must be reachable by keyboard.
    this.scroller = make("div", { class: "scroller", role: "region", tabindex: "0", "aria-label": caption }, table);
    this.empty = make("p", { class: "hint" }, note);
    this.element = make("div", { class: "table" }, this.scroller, this.empty);
  }

  setCaption(text) {
    setText(this.caption, text);
    setAttribute(this.scroller, "aria-label", text);
  }

  update(columns, items, keyOf) {
    Object.assign(this, { columns, items, keyOf });
    this.buildHead();
    const keys = new Set(items.map(keyOf));
    for (const key of this.rows.keys()) if (!keys.has(key)) this.rows.delete(key);
    setChildren(this.body, this.sort(items).map((item) => this.drawRow(item)));
    this.scroller.hidden = items.length === 0 && this.empty.textContent !== "";
    this.empty.hidden = !this.scroller.hidden;
  }

  buildHead() {
    const signature = JSON.stringify(this.columns.map(({ id, label }) => [id, label]));
    if (signature === this.signature) return;
    this.signature = signature;
    this.rows.clear();
    this.body.replaceChildren();
    this.head.replaceChildren(...this.columns.map((column) => this.makeHeader(column)));
    this.markSorting();
  }

  makeHeader(column) {
    const attributes = { scope: "col", class: column.isNumeric ? "number" : null };
    if (!this.isSortable || column.sort === null) return make("th", attributes, make("span", {}, column.label));
    const button = make("button", { type: "button" }, column.label);
    button.addEventListener("click", () => this.sortBy(column.id));
    return make("th", attributes, button);
  }

  sortBy(id) {
    const isSame = this.sorting !== null && this.sorting.id === id;
    const column = this.columns.find((one) => one.id === id);
    // For numbers, the largest are of interest first.
    const isDescending = isSame ? !this.sorting.isDescending : Boolean(column.isNumeric);
    this.sorting = { id, isDescending };
    this.markSorting();
    this.update(this.columns, this.items, this.keyOf);
  }

  markSorting() {
    this.columns.forEach((column, index) => {
      const header = this.head.children[index];
      header.removeAttribute("aria-sort");
      if (this.sorting !== null && this.sorting.id === column.id) {
        header.setAttribute("aria-sort", this.sorting.isDescending ? "descending" : "ascending");
      }
    });
  }

  sort(items) {
    const column = this.sorting && this.columns.find((one) => one.id === this.sorting.id);
    if (!column) return items;
    const valueOf = column.sort ?? column.text;
    const sign = this.sorting.isDescending ? -1 : 1;
    const collator = new Intl.Collator("en", { numeric: true });
    return [...items].sort((one, other) => {
      const [a, b] = [valueOf(one), valueOf(other)];
      // Missing values come last in either order.
      if (a === null || b === null || a === undefined || b === undefined) return (a == null) - (b == null);
      return sign * (isNumber(a) && isNumber(b) ? a - b : collator.compare(String(a), String(b)));
    });
  }

  drawRow(item) {
    const key = this.keyOf(item);
    if (!this.rows.has(key)) this.rows.set(key, this.makeRow());
    const row = this.rows.get(key);
    this.columns.forEach((column, index) => {
      const cell = row.children[index];
      if (column.fill) column.fill(cell, item);
      else setText(cell, column.text(item));
      if (column.title) setAttribute(cell, "title", column.title(item));
    });
    return row;
  }

  makeRow() {
    const cells = this.columns.map((column) => {
      const attributes = { class: column.isNumeric ? "number" : column.class ?? null };
      return column.isHeader ? make("th", { scope: "row", ...attributes }) : make("td", attributes);
    });
    return make("tr", {}, ...cells);
  }
}
