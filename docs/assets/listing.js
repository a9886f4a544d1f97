/* Tables of entries: filter by words and by the chips of each column, sort by a column.
   Without this script the tables are simply whole. */
"use strict";
for (const listing of document.querySelectorAll(".listing")) {
  const table = listing.querySelector("table");
  if (!table || table.tBodies[0].rows.length < 4) continue;
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells];
  const tools = document.createElement("form");
  tools.className = "listing-tools";
  tools.addEventListener("submit", (event) => event.preventDefault());

  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "Filter by words";
  words.setAttribute("aria-label", "Filter by words");
  tools.append(words);

  const chips = (row, column) =>
    [...row.cells[column].querySelectorAll(".chip")].map((chip) => chip.textContent.trim());
  const selects = [];
  heads.forEach((head, column) => {
    const values = [...new Set(rows.flatMap((row) => chips(row, column)))].sort();
    if (values.length < 2) return;
    const select = document.createElement("select");
    select.setAttribute("aria-label", head.textContent);
    select.append(new Option(`${head.textContent}: any`, ""));
    for (const value of values) select.append(new Option(value, value));
    select.column = column;
    selects.push(select);
    tools.append(select);
  });
  const count = document.createElement("output");
  tools.append(count);
  listing.prepend(tools);

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        wanted.every((word) => text.includes(word)) &&
        selects.every((s) => !s.value || chips(row, s.column).includes(s.value));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  tools.addEventListener("input", filter);
  filter();

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent.trim();
      const order = (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
      rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows);
    });
  });
}
