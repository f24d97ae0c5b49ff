"use strict";
// Sorts and filters the trial table. Without it the table is there as it is, the best trial first.
(() => {
  const table = document.getElementById("trials");
  if (!table) return;
  const heads = Array.from(table.tHead.rows[0].cells);
  const names = heads.map((head) => head.textContent);
  const body = table.tBodies[0];
  const filter = document.getElementById("filter");
  const state = document.getElementById("state");
  const collator = new Intl.Collator("en", { numeric: true });
  let rows = Array.from(body.rows, (row) => ({
    row,
    state: row.dataset.state,
    // "name=value" for each cell, so that dropout=0.2 finds what it says.
    text: Array.from(row.cells, (cell, i) => `${names[i]}=${cell.textContent}`).join(" ").toLowerCase(),
  }));

  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = rows.filter(
      (entry) =>
        (!state.value || entry.state === state.value) &&
        words.every((word) => entry.text.includes(word)),
    );
    body.replaceChildren(...kept.map((entry) => entry.row));
    document.getElementById("count").value = `${kept.length} of ${rows.length} trials`;
  };

  const key = (entry, column, isNumber) => {
    const cell = entry.row.cells[column];
    const text = cell.dataset.exact ?? cell.textContent;
    return isNumber && text !== "" ? Number(text.replace("inf", "Infinity")) : text;
  };

  const sort = (column) => {
    const head = heads[column];
    const isDown = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const isNumber = head.dataset.kind === "number";
    const compare = isNumber ? (a, b) => a - b : collator.compare;
    const keyed = rows.map((entry) => [key(entry, column, isNumber), entry]);
    // Empty cells come last whichever way the others go.
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return isDown ? compare(b, a) : compare(a, b);
    });
    rows = keyed.map(([, entry]) => entry);
    show();
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  });
  const controls = document.getElementById("controls");
  controls.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", show);
  state.addEventListener("change", show);
  controls.hidden = false;
  show();
})();
